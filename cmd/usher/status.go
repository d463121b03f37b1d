package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show how the cluster is",
		Action: p.action(exactly(0), (*call).status),
	}
}

func (c *call) status() error {
	s, err := ask(c, func(ctx context.Context) (admin.Status, error) { return c.api.Status(ctx) })
	if err != nil {
		return err
	}
	var nodes admin.List[admin.Node]
	if c.cli.String("output") == formatTable {
		if nodes, err = listAll(c, c.api.Nodes); err != nil {
			return err
		}
	}
	return c.emit(c.cli, s, func(o *printer) {
		o.truth(s)
		o.facts(
			"cluster", s.Cluster.Name,
			"central", refName(s.Central, "none"),
			"servers", fmt.Sprintf("%d of %d reachable", s.Servers.Reachable, s.Servers.Voters),
			"nodes", fmt.Sprintf("%d of %d alive", s.Counts.NodesAlive, s.Counts.Nodes),
			"engines", fmt.Sprintf("%d of %d healthy", s.Counts.EnginesHealthy, s.Counts.Engines),
			"sessions", fmt.Sprint(s.Counts.Sessions),
			"tasks", taskCounts(s.Counts),
			"index", fmt.Sprint(s.Index),
			"asked", fmt.Sprintf("%s, usher %s, up %s", s.Node.Name, s.Version, span(c.now().Sub(s.Started))),
			"door", s.Door,
		)
		o.line("")
		o.nodes(nodes.Items)
		for _, w := range s.Warnings {
			o.line("warning: %s", w)
		}
	})
}

func taskCounts(n admin.Counts) string {
	text := fmt.Sprint(n.Tasks)
	if n.Running > 0 {
		text += fmt.Sprintf(", %d running", n.Running)
	}
	if n.TasksPaused > 0 {
		text += fmt.Sprintf(", %d paused", n.TasksPaused)
	}
	return text
}

// truth heads an answer with what no majority confirmed.
func (o *printer) truth(s admin.Status) {
	if s.Quorum && !s.Stale {
		return
	}
	text := fmt.Sprintf("state as of index %d, %s old", s.Index, age(s.Age.D()))
	if !s.Quorum {
		text = fmt.Sprintf("no quorum: %d of %d servers reachable; %s", s.Servers.Reachable, s.Servers.Voters, text)
	}
	if o.colour {
		text = red + text + plain
	}
	o.b.WriteString(text + "\n\n")
}

// truthOf is truth for an answer other than a status: it asks for the numbers, and
// does without when nobody answers twice.
func (c *call) truthOf(m admin.Meta) func(*printer) {
	if !m.Stale {
		return func(*printer) {}
	}
	s, err := ask(c, func(ctx context.Context) (admin.Status, error) { return c.api.Status(ctx, admin.Stale()) })
	if err != nil {
		return func(o *printer) { o.line("state as of index %d, %s old\n", m.Revision, age(m.Age.D())) }
	}
	s.Meta, s.Index = m, m.Revision
	return func(o *printer) { o.truth(s) }
}

// age is in seconds while that is easy to read.
func age(d time.Duration) string {
	if d < 2*time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return span(d)
}

func refName(r *admin.Ref, none string) string {
	if r == nil {
		return none
	}
	return nodeName(*r)
}

// nodeName is the name, or for a node that nobody remembers the ID.
func nodeName(r admin.Ref) string {
	if r.Name != "" {
		return r.Name
	}
	return r.ID.Short()
}
