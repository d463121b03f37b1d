package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
)

func (p *program) leaveCommand() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "take this machine out of its cluster for good",
		Description: "The cluster forgets the node and its agent ends. With --purge its identity, log and caches are removed too, so that the machine can join anew; other files in the data directory stay. --purge works without a running agent as well, for a node that was removed from elsewhere.",
		Flags: append([]cli.Flag{
			toggle("purge", "remove the node's files from the data directory"),
			toggle("force", "even where the servers that remain are no majority"),
			yes(),
		}, configFlags("data-dir")...),
		Action: p.action(exactly(0), (*call).leave),
	}
}

// leaveAnswer is what leave prints as JSON.
type leaveAnswer struct {
	NodeID   string `json:"node_id,omitempty"`
	NodeName string `json:"node_name,omitempty"`
	Removed  bool   `json:"removed"` // from the cluster, by this call
	Purged   string `json:"purged,omitempty"`
}

func (c *call) leave() error {
	cfg, _, err := c.configure(c.cli)
	if err != nil {
		return err
	}
	purge := c.cli.Bool("purge")
	s, err := ask(c, func(ctx context.Context) (admin.Status, error) { return c.api.Status(ctx, admin.Stale()) })
	switch {
	case purge && errors.Is(err, admin.ErrUnreachable):
		return c.purgeOnly(cfg)
	case err != nil:
		return err
	}
	what := ""
	if purge {
		if id, err := c.machine.NodeID(cfg.DataDir); err != nil || id != s.Node.ID {
			return failed("name the directory of the node that answers with --data-dir, or leave --purge out",
				"the agent at %s is node %s, and that is not the node in %s", c.api.Address(), s.Node.Name, cfg.DataDir)
		}
		what = " and remove its files in " + cfg.DataDir
	}
	if err := c.confirm(c.cli, "take node %s out of cluster %s for good%s", s.Node.Name, s.Cluster.Name, what); err != nil {
		return err
	}
	_, err = ask(c, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.api.RemoveNode(ctx, string(s.Node.ID), c.cli.Bool("force"))
	})
	if err != nil && !isCode(err, admin.CodeRemoved) {
		return err
	}
	out := leaveAnswer{NodeID: string(s.Node.ID), NodeName: s.Node.Name, Removed: true}
	if purge {
		if err := c.purge(cfg); err != nil {
			return err
		}
		out.Purged = cfg.DataDir
	}
	return c.emit(c.cli, out, func(o *printer) {
		o.line("%s is no member of %s any more", s.Node.Name, s.Cluster.Name)
		o.purged(out)
	})
}

func (c *call) purgeOnly(cfg config.Config) error {
	has, err := c.machine.HasIdentity(cfg.DataDir)
	if err == nil && !has {
		return failed("name the node's directory with --data-dir", "there is no node in %s", cfg.DataDir)
	}
	// A damaged identity is a reason to purge, not to refuse.
	fmt.Fprintln(c.stderr, "no agent answers: a cluster that still lists this node keeps listing it until usher node remove")
	if err := c.confirm(c.cli, "remove this node's files in %s", cfg.DataDir); err != nil {
		return err
	}
	if err := c.purge(cfg); err != nil {
		return err
	}
	out := leaveAnswer{Purged: cfg.DataDir}
	return c.emit(c.cli, out, func(o *printer) { o.purged(out) })
}

func (o *printer) purged(a leaveAnswer) {
	if a.Purged != "" {
		o.line("its files in %s are removed", a.Purged)
	}
}

// purge waits for an agent that was just removed to let go of its directory.
func (c *call) purge(cfg config.Config) error {
	tries := 0
	return c.until(func(g *progress) (bool, error) {
		err := c.machine.Purge(cfg.DataDir)
		if tries++; isHeld(err) && tries <= purgePatience {
			g.say("waiting for the agent to end")
			return false, nil
		}
		if err != nil {
			return false, failed("stop the agent, then repeat usher leave --purge", "%w", err)
		}
		return true, nil
	})
}

const purgePatience = 60 // looks
