package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

const (
	stopWithin  = 20 * time.Second // of an orderly stop; the agent is told 5 s
	againAfter  = time.Second      // as the systemd unit has it
	exitForGood = 78               // starting again does not help
)

// Death is an end of an agent that nobody asked for.
type Death struct {
	Node    string
	At      time.Time
	Code    int // -1: by a signal
	Words   string
	Excused bool // by a fault that makes agents end
}

// Node is one agent and the machine that it believes to be on. It is safe for
// concurrent use, but one at a time may start, stop or kill it.
type Node struct {
	Name   string
	IP     string
	Door   string // host:port
	Socket string // of the admin API
	Client *admin.Client

	index int
	w     *World
	disk  *disk  // nil: this machine's
	quota *quota // nil: none

	mu      sync.Mutex
	proc    *process // nil: it does not run
	wanted  bool
	excused int
	deaths  []Death
	env     []string // of the next start, once
	args    []string // the same
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was reaped
}

// Data is the data directory; its parent is the top of the node's own file system, if it
// has one.
func (n *Node) Data() string { return filepath.Join(n.Top(), "data") }

// Top is the directory that holds everything of the node that is on its disk.
func (n *Node) Top() string { return filepath.Join(n.w.Dir, n.Name) }

// Log is the file of the agent's log.
func (n *Node) Log() string { return filepath.Join(n.w.Dir, n.Name+".log") }

// ClockFile holds the offset of the agent's wall clock.
func (n *Node) ClockFile() string { return filepath.Join(n.w.Dir, n.Name+".clock") }

// Addr is the cluster port.
func (n *Node) Addr() string { return net.JoinHostPort(n.IP, fmt.Sprint(clusterPort)) }

// Start starts the agent, which must not run. From then on one that ends by itself is
// started again, as systemd does it.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != nil {
		return fmt.Errorf("start %s: it runs", n.Name)
	}
	n.wanted = true
	return n.spawn()
}

func (n *Node) spawn() error {
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log of %s: %w", n.Name, err)
	}
	defer log.Close() // the child has its own
	args := append(n.enter(), n.w.cfg.Binary, "agent")
	args = append(args, n.own()...)
	api := "off"
	if n.w.cfg.API {
		api = API
	}
	args = append(args, "--api", api, "--socket", n.Socket, "--door", n.Door, "--engine", "builtin",
		"--documents", n.w.documents, "--log-level", "info", "--log-format", "json", "--stop-timeout", "5s")
	args = append(args, n.args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(plainEnv(), "USHER_LAB_CLOCK="+n.ClockFile())
	cmd.Env = append(append(cmd.Env, n.w.cfg.Env...), n.env...)
	cmd.Stdout, cmd.Stderr = log, log
	// A Ctrl-C is ours: we end what we started, in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.env, n.args = nil, nil
	p := &process{cmd: cmd, done: make(chan struct{})}
	n.proc = p
	n.w.wg.Go(func() { n.keep(p) })
	if n.quota != nil {
		return n.quota.add(cmd.Process.Pid)
	}
	return nil
}

func plainEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "USHER_") && !strings.HasPrefix(kv, "GO") {
			out = append(out, kv)
		}
	}
	return out
}

func (n *Node) enter() []string {
	return []string{"nsenter", "--net=/run/netns/" + n.w.net.namespace(n.index), "--"}
}

func (n *Node) own() []string {
	return []string{"--data-dir", n.Data(), "--name", n.Name, "--bind", n.Addr(), "--advertise", n.Addr()}
}

// keep reaps a process, and starts the agent again if it ended by itself.
func (n *Node) keep(p *process) {
	_ = p.cmd.Wait() // how it ended is in its state
	n.mu.Lock()
	close(p.done)
	n.proc = nil
	again := n.wanted
	if again {
		d := Death{Node: n.Name, At: time.Now(), Code: p.cmd.ProcessState.ExitCode(), Words: n.words(), Excused: n.excused > 0}
		n.deaths = append(n.deaths, d)
		again = d.Code != exitForGood
	}
	n.mu.Unlock()
	if !again {
		return
	}
	select {
	case <-time.After(againAfter):
	case <-n.w.closing:
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil && n.wanted {
		if err := n.spawn(); err != nil {
			n.deaths = append(n.deaths, Death{Node: n.Name, At: time.Now(), Code: -1, Words: err.Error()})
		}
	}
}

// words are the last lines of the log.
func (n *Node) words() string {
	text, err := os.ReadFile(n.Log())
	if err != nil {
		return err.Error()
	}
	if i := strings.Index(string(text), "\npanic: "); i >= 0 {
		return string(text[i+1 : min(len(text), i+3000)])
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "\n")
}

// Excuse says that the agent may end by itself from now on; the returned function takes
// that back.
func (n *Node) Excuse() func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.excused++
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.excused--
	})
}

// Deaths are the ends that nobody asked for so far.
func (n *Node) Deaths() []Death {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Death(nil), n.deaths...)
}

// Running reports whether there is a process.
func (n *Node) Running() bool { return n.PID() != 0 }

// PID of the agent; 0: it does not run.
func (n *Node) PID() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc == nil {
		return 0
	}
	return n.proc.cmd.Process.Pid
}

// Signal sends a signal to the agent.
func (n *Node) Signal(s syscall.Signal) error {
	pid := n.PID()
	if pid == 0 {
		return fmt.Errorf("signal %s: it does not run", n.Name)
	}
	if err := syscall.Kill(pid, s); err != nil {
		return fmt.Errorf("signal %s: %w", n.Name, err)
	}
	return nil
}

// Kill is kill -9. It is no error if the agent does not run; afterwards it does not, and
// is not started again.
func (n *Node) Kill(ctx context.Context) error {
	return n.end(ctx, syscall.SIGKILL)
}

// Stop ends the agent as a service manager does.
func (n *Node) Stop(ctx context.Context) error {
	return n.end(ctx, syscall.SIGTERM)
}

func (n *Node) end(ctx context.Context, s syscall.Signal) error {
	n.mu.Lock()
	n.wanted = false
	p := n.proc
	n.mu.Unlock()
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(s)
	_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may have been stopped by us
	select {
	case <-p.done:
		return nil
	case <-time.After(stopWithin):
	case <-ctx.Done():
	}
	_ = p.cmd.Process.Kill()
	select {
	case <-p.done:
	case <-time.After(stopWithin):
		return fmt.Errorf("%s does not end, not even when killed", n.Name)
	}
	return errors.Join(ctx.Err(), fmt.Errorf("%s did not stop within %s and was killed", n.Name, stopWithin))
}

// Dial connects from this node's machine.
func (n *Node) Dial(ctx context.Context, address string) (net.Conn, error) {
	var c net.Conn
	err := inNamespace(n.w.net.namespace(n.index), func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

// Here runs f on this node's network: sockets that it makes belong there. f must not
// start goroutines that make more.
func (n *Node) Here(f func() error) error { return inNamespace(n.w.net.namespace(n.index), f) }

// Reaches reports whether a TCP connection from this node's machine to the cluster port of
// another one comes about within the time.
func (n *Node) Reaches(ctx context.Context, to *Node, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c, err := n.Dial(ctx, to.Addr())
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// Rules puts a table of nftables rules into the node's network. The text is what stands
// inside the table; the family is inet, or ip for address translation.
func (n *Node) Rules(ctx context.Context, family, name, chains string) error {
	_, err := output(ctx, "table "+family+" "+name+" {\n"+chains+"\n}\n", "ip", "netns", "exec", n.w.net.namespace(n.index), "nft", "-f", "-")
	return err
}

// Unrule takes a table away.
func (n *Node) Unrule(ctx context.Context, family, name string) error {
	return run(ctx, "ip", "netns", "exec", n.w.net.namespace(n.index), "nft", "delete", "table", family, name)
}

// Plug takes the node's cable out, or puts it back. Clients do not reach a node without.
func (n *Node) Plug(ctx context.Context, in bool) error { return n.w.net.plug(ctx, n.index, in) }

// errNoDisk: the world was made without file systems of the nodes' own.
var errNoDisk = errors.New("this node has no file system of its own")

// CutPower loses what the node has not synced, kills it, and brings its disk back as it
// was then. It returns when the agent may be started.
func (n *Node) CutPower(ctx context.Context) error {
	if n.disk == nil {
		return errNoDisk
	}
	if err := n.disk.cutPower(); err != nil {
		return err
	}
	if err := n.Kill(ctx); err != nil {
		return err
	}
	if err := n.disk.detach(ctx); err != nil {
		return err
	}
	return n.disk.attach(ctx)
}

// Freeze lets writes to the node's disk wait until Thaw.
func (n *Node) Freeze() error {
	if n.disk == nil {
		return errNoDisk
	}
	return n.disk.freeze()
}

// Thaw ends Freeze.
func (n *Node) Thaw() error { return n.disk.thaw() }

// Quota bounds the node to a share of one core, in percent; 0 is no bound.
func (n *Node) Quota(percent int) error {
	if n.quota == nil {
		if percent == 0 {
			return nil
		}
		q, err := openQuota(fmt.Sprintf("%s-n%d", n.w.tag, n.index+1))
		if err != nil {
			return err
		}
		n.quota = q
	}
	if pid := n.PID(); pid != 0 {
		if err := n.quota.add(pid); err != nil {
			return err
		}
	}
	return n.quota.set(percent)
}

// Throttled is how often the node had to wait for its quota.
func (n *Node) Throttled() (int, error) {
	if n.quota == nil {
		return 0, ErrNoQuota
	}
	return n.quota.throttled()
}

// SetClock puts the agent's wall clock ahead of this machine's, or behind it.
func (n *Node) SetClock(ahead time.Duration) error {
	tmp := n.ClockFile() + ".new"
	if err := os.WriteFile(tmp, []byte(ahead.String()), 0o600); err != nil {
		return fmt.Errorf("set clock of %s: %w", n.Name, err)
	}
	if err := os.Rename(tmp, n.ClockFile()); err != nil {
		return fmt.Errorf("set clock of %s: %w", n.Name, err)
	}
	return nil
}

// JoinAnew makes the next start join the cluster with a token; the data directory has to
// be empty.
func (n *Node) JoinAnew(token string, through []*Node) {
	var at []string
	for _, o := range through {
		at = append(at, o.Addr())
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.env = []string{"USHER_JOIN_TOKEN=" + token, "USHER_JOIN=" + strings.Join(at, ",")}
}

// Hits is how many packets the counters of a table of rules have counted.
func (n *Node) Hits(ctx context.Context, family, name string) (int, error) {
	text, err := output(ctx, "", "ip", "netns", "exec", n.w.net.namespace(n.index), "nft", "list", "table", family, name)
	if err != nil {
		return 0, err
	}
	sum, fields := 0, strings.Fields(text)
	for i, word := range fields {
		if word == "packets" && i+1 < len(fields) {
			hits, err := strconv.Atoi(fields[i+1])
			if err != nil {
				return 0, fmt.Errorf("read the counters of %s: %w", name, err)
			}
			sum += hits
		}
	}
	return sum, nil
}

// Leave takes the node out of its cluster, as its operator does on the machine itself.
func (n *Node) Leave(ctx context.Context) error {
	args := append(n.enter(), n.w.cfg.Binary, "--address", "unix:"+n.Socket, "leave", "--yes", "--purge", "--data-dir", n.Data())
	return run(ctx, args[0], args[1:]...)
}
