package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
)

// drainPatience is how many looks in a row may pass without proof, unless gossip calls
// the node lost.
const drainPatience = 15

func (c *call) nodeDrain() error {
	after := c.cli.Bool("then-standby")
	switch detached := c.cli.Bool("detach"); {
	case detached && after:
		return usage("leave out one of them", "--then-standby has to wait for the last session, and --detach does not wait")
	case detached:
		return c.nodeState(c.api.Drain)
	}
	name, err := c.nodeOrSelf()
	if err != nil {
		return err
	}
	n, err := ask(c, func(ctx context.Context) (admin.Node, error) {
		return c.api.Drain(ctx, name, admin.StateChange{Reason: c.cli.String("reason"), Deadline: admin.Duration(c.cli.Duration("deadline"))})
	})
	if err != nil {
		return err
	}
	d, began := draining{since: n.Modified}, c.now()
	err = c.until(func(g *progress) (bool, error) {
		if n, err = ask(c, func(ctx context.Context) (admin.Node, error) {
			return c.api.Node(ctx, string(n.ID), admin.Stale(), admin.Counted())
		}); err != nil {
			return false, err
		}
		over, is, err := d.judge(n)
		if err == nil {
			g.say("%s %s, %s", n.Name, is, span(c.now().Sub(began)))
		}
		return over, err
	})
	is := ""
	if err == nil && after {
		is = ", and is on standby now"
		n, err = ask(c, func(ctx context.Context) (admin.Node, error) {
			return c.api.Standby(ctx, string(n.ID), admin.StateChange{Reason: c.cli.String("reason")})
		})
	}
	if err != nil {
		return err
	}
	return c.emit(c.cli, n, func(o *printer) {
		o.line("%s is drained after %s: no session is left%s", n.Name, span(c.now().Sub(began).Round(time.Second)), is)
	})
}

// draining judges one look after the other. Load reports are no proof: they are from
// before the drain, or of a node that is gone. What counts is the word of the node
// itself, given when its door knew of the drain.
type draining struct {
	since  uint64 // revision of the drain
	silent int    // looks in a row without such a word
}

// judge says whether the last session has ended, and how it stands for people.
func (d *draining) judge(n admin.Node) (over bool, is string, err error) {
	lost := n.Status == peer.StatusFailed || n.Status == peer.StatusLeft
	d.silent++
	late := d.silent > drainPatience
	switch {
	case n.Modified >= d.since && n.State != peer.StateDraining:
		return false, "", failed("see usher node show "+n.Name, "%s is %s: somebody changed its state meanwhile", n.Name, n.State)
	case n.Modified < d.since && late:
		return false, "", failed("ask another node with --address", "the node that answers is behind: it does not know of the drain of %s", n.Name)
	case n.Modified < d.since:
		return false, "is to be drained: the node that answers does not know yet", nil
	case n.Count == nil && lost:
		return false, "", failed("start it again, or take it out with usher node remove "+n.Name,
			"node %s does not answer and is %s; its sessions are gone with it, unless it is only cut off", n.Name, n.Status)
	case n.Count == nil && late:
		return false, "", failed("look at the agent on that machine, then repeat", "node %s does not answer: it is not known whether it has sessions", n.Name)
	case n.Count == nil:
		return false, "is draining: it does not answer now", nil
	case n.Count.Revision < d.since && late:
		return false, "", failed("see usher node show "+n.Name, "%s is behind: it does not know of its drain and may take sessions", n.Name)
	case n.Count.Revision < d.since:
		return false, "is to be drained: it does not know yet", nil
	}
	d.silent = 0
	return n.Count.Sessions == 0, fmt.Sprintf("is draining: %s left", count(n.Count.Sessions, "session")), nil
}
