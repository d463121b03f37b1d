package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/logs"
)

// demo is a cluster of processes on this machine:
//
//	demo ---- starts ----> usher demo keep       makes DIR and removes it
//	  |  ---- its stdin -->   |
//	  |                       '-- DIR/alive.sock <---.
//	  '------ starts ----> usher agent --config DIR/node-1/usher.yaml --demo DIR
//
// The keeper ends when the pipe from the demonstration breaks, and an agent when its
// connection to the keeper does. Pipe and connection break however the other end
// ends, kill -9 included; they tie agents that the user started again in another
// terminal as well, and they work alike on all systems. Each begins before there is
// anything that could be left behind. The keeper removes DIR when the last agent has
// ended; if it was killed itself, the last agent does.
type demo struct {
	p         *program
	dir       string
	base      int
	documents string
	task      string // document that the task reloads
	began     time.Time
	progress  *progress

	nodes     []*demoNode
	claim     net.Listener // keeps the block of ports
	keeper    *keeper
	cluster   string
	token     string
	joinToken string
	wg        sync.WaitGroup
	deaths    chan *demoNode
}

// demoNode is one agent. Its process is started once; the user starts it again.
type demoNode struct {
	name    string
	dir     string // data directory
	cfg     config.Config
	door    int
	api     int
	cluster int
	logPath string
	pid     int
	ended   chan struct{} // closed when the process has ended
	err     error         // after ended
	kill    func()
}

func (d *demo) layOut(n int) {
	d.deaths = make(chan *demoNode, n)
	for i := range n {
		name := fmt.Sprintf("node-%d", i+1)
		first := d.base + i*portsPerNode
		node := &demoNode{
			name: name, dir: filepath.Join(d.dir, name), logPath: filepath.Join(d.dir, name+".log"),
			door: first + portDoor, api: first + portAPI, cluster: first + portCluster,
		}
		d.nodes = append(d.nodes, node)
	}
}

// open gets a directory and writes the marker, the documents and the configurations.
func (d *demo) open(n int) error {
	var err error
	if d.keeper, err = d.p.startKeeper(); err != nil {
		return err
	}
	d.dir = d.keeper.dir
	d.layOut(n)
	if err := d.writeState(nil); err != nil {
		return err
	}
	if d.task, err = d.prepareDocuments(); err != nil {
		return err
	}
	for i, n := range d.nodes {
		if err := d.configure(n, i > 0); err != nil {
			return err
		}
	}
	return nil
}

// configure writes the node's file, so that starting it again needs nothing more.
func (d *demo) configure(n *demoNode, joins bool) error {
	values := map[string][]string{
		"data-dir": {n.dir}, "name": {n.name},
		"bind": {loopbackAddr(n.cluster)}, "advertise": {loopbackAddr(n.cluster)},
		"door": {loopbackAddr(n.door)}, "api": {loopbackAddr(n.api)},
		"engine": {"builtin"}, "documents": {d.documents},
		"stop-timeout": {demoStopNode.String()}, "log-format": {string(logs.Console)},
	}
	if joins {
		values["join"] = []string{loopbackAddr(d.nodes[0].cluster)}
	}
	cfg, _, err := merge(config.Flags(values), config.Defaults(d.p.facts))
	if err != nil {
		return err
	}
	n.cfg = cfg
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		return fmt.Errorf("make node directory: %w", err)
	}
	var b bytes.Buffer
	if err := cfg.Print(&b, nil); err != nil {
		return err
	}
	return os.WriteFile(n.configPath(), b.Bytes(), 0o600)
}

func (n *demoNode) configPath() string { return filepath.Join(n.dir, "usher.yaml") }

// args start the node, now or again.
func (d *demo) args(n *demoNode) []string {
	return []string{"agent", "--config", n.configPath(), "--demo", d.dir}
}

// startCommand is what the user types to start a node again.
func (d *demo) startCommand(n *demoNode) string {
	words := []string{shellQuote(d.p.executable)}
	for _, a := range d.args(n) {
		words = append(words, shellQuote(a))
	}
	return strings.Join(words, " ")
}

// launch starts the node's process. It is not started again when it ends.
func (d *demo) launch(n *demoNode) error {
	log, err := os.OpenFile(n.logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", n.name, err)
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(d.p.executable, d.args(n)...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(foreignEnv(os.Environ()), "USHER_JOIN_TOKEN="+d.joinToken)
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return failed("the demonstration runs this binary again: is it still there?", "start %s: %w", n.name, err)
	}
	n.pid, n.ended = cmd.Process.Pid, make(chan struct{})
	n.kill = func() { _ = cmd.Process.Kill() } // it may have ended meanwhile
	d.wg.Go(func() {
		n.err = cmd.Wait()
		close(n.ended)
		d.deaths <- n
	})
	return nil
}

// foreignEnv keeps the user's own usher settings from the agents.
func foreignEnv(all []string) []string {
	var out []string
	for _, kv := range all {
		if !strings.HasPrefix(kv, "USHER_") && !strings.HasPrefix(kv, "NOTIFY_SOCKET=") && !strings.HasPrefix(kv, "WATCHDOG_") {
			out = append(out, kv)
		}
	}
	return out
}

// watch tells of nodes that end, until ctx does.
func (d *demo) watch(ctx context.Context) error {
	for {
		select {
		case n := <-d.deaths:
			how := "by itself"
			if n.err != nil {
				how = n.err.Error()
			}
			fmt.Fprintf(d.p.stderr, "%s (process %d) ended: %s\n  start it again: %s\n", n.name, n.pid, how, d.startCommand(n))
		case <-d.keeper.ended:
			return errKeeper
		case <-ctx.Done():
			return nil
		}
	}
}

// errKeeper ends a demonstration: its agents end as well.
var errKeeper = failed("start it again", "the demonstration's keeper (usher demo keep) was killed")

// close ends all agents, those too that the user started again, and removes the
// directory.
func (d *demo) close() error {
	d.progress.done()
	defer d.claim.Close()
	if d.keeper == nil {
		return nil
	}
	d.keeper.close()
	for _, n := range d.nodes {
		if n.kill != nil {
			n.kill()
		}
	}
	d.wg.Wait()
	return removeDemo(d.dir) // there, if the keeper was killed or an agent hung
}

// died says why a node ended before the demonstration was ready.
func (d *demo) died(n *demoNode) error {
	const lines = 40
	text, err := os.ReadFile(n.logPath)
	if err != nil {
		return errors.Join(n.err, err)
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return failed("see what its log says above", "%s ended too early (%v); its last words:\n  %s",
		n.name, n.err, strings.Join(all[max(0, len(all)-lines):], "\n  "))
}
