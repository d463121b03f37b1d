package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
)

// demoReady is the one line that --output json prints, and what demo env reads.
type demoReady struct {
	Cluster string      `json:"cluster"`
	Token   string      `json:"token"`
	Nodes   []readyNode `json:"nodes"`
}

type readyNode struct {
	ID          peer.ID `json:"id"`
	Name        string  `json:"name"`
	PID         int     `json:"pid"`
	Door        string  `json:"door"`
	API         string  `json:"api"`
	ClusterAddr string  `json:"cluster_addr"`
	Engine      string  `json:"engine"`
	DataDir     string  `json:"data_dir"`
	Start       string  `json:"start"` // the command that starts it again
}

// demoState is the file by which demo env finds the demonstration. Its directory
// is readable by this user alone.
type demoState struct {
	PID      int        `json:"pid"`
	PortBase int        `json:"port_base"`
	Began    time.Time  `json:"began"`
	Ready    *demoReady `json:"ready"` // null: not yet
}

func (s demoState) ready() bool { return s.Ready != nil && len(s.Ready.Nodes) > 0 }

const stateName = "demo.json"

func (d *demo) writeState(ready *demoReady) error {
	text, err := json.Marshal(demoState{PID: os.Getpid(), PortBase: d.base, Began: d.began, Ready: ready})
	if err != nil {
		return fmt.Errorf("write demonstration state: %w", err)
	}
	path := filepath.Join(d.dir, stateName)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("write demonstration state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write demonstration state: %w", err)
	}
	return nil
}

// describe asks the cluster what its nodes are called and where their engines are.
func (d *demo) describe(ctx context.Context, c *admin.Client) (*demoReady, error) {
	nodes, err := admin.All(ctx, c.Nodes)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	ready := &demoReady{Cluster: d.cluster, Token: d.token}
	for _, n := range d.nodes {
		r := readyNode{
			Name: n.name, PID: n.pid, Door: loopbackURL(n.door), API: loopbackURL(n.api),
			ClusterAddr: loopbackAddr(n.cluster), DataDir: n.dir, Start: d.startCommand(n),
		}
		for _, row := range nodes.Items {
			if row.Name == n.name {
				r.ID = row.ID
			}
		}
		e, err := c.Engine(ctx, peer.MakeEngineID(r.ID, "builtin"))
		if err != nil {
			return nil, fmt.Errorf("ask for the engine of %s: %w", n.name, err)
		}
		r.Engine = e.URL
		ready.Nodes = append(ready.Nodes, r)
	}
	return ready, nil
}

func readDemo(dir string) (demoState, error) {
	var s demoState
	text, err := os.ReadFile(filepath.Join(dir, stateName))
	if err != nil {
		return s, fmt.Errorf("read demonstration state: %w", err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("read demonstration state: %w", err)
	}
	return s, nil
}

func (d *demo) announce(c *cli.Context) error {
	s, err := readDemo(d.dir)
	if err != nil {
		return err
	}
	if c.String("output") == formatJSON {
		return d.p.emitJSONLine(s.Ready)
	}
	return d.p.emit(c, s.Ready, func(o *printer) { d.print(o, s) })
}

func (d *demo) print(o *printer, s demoState) {
	o.line("%d nodes are one cluster after %.1f s.\n", len(s.Ready.Nodes), d.p.now().Sub(d.began).Seconds())
	var rows [][]string
	for _, n := range s.Ready.Nodes {
		rows = append(rows, []string{n.Name, n.Door, n.API, n.Engine, fmt.Sprint(n.PID)})
	}
	o.table([]string{"NODE", "DOOR", "ADMIN API", "ENGINE", "PROCESS"}, rows)
	o.line("\nOpen any door in a browser. Kill a node, see the others take over, start it again:\n")
	for _, n := range s.Ready.Nodes {
		kill := fmt.Sprintf("kill -9 %d", n.PID)
		if d.p.facts.Windows {
			kill = fmt.Sprintf("taskkill /f /pid %d", n.PID)
		}
		o.line("  %s\n  %s\n", kill, n.Start)
	}
	env := "eval \"$(usher demo env)\""
	if d.p.facts.Windows {
		env = "usher demo env | Invoke-Expression"
	}
	o.line("Next, in another terminal:\n\n  %s\n  usher status\n  usher session list\n  usher task history %s\n  usher node drain node-2\n  usher setting set placement.strategy round-robin\n", env, d.taskName())
	o.line("Ctrl-C ends it all and removes %s.", d.dir)
}
