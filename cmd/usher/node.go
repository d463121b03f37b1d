package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
)

func (p *program) nodeCommand() *cli.Command {
	reason := text("reason", "TEXT", "why, for whoever looks later")
	self := toggle("self", "the node that answers, in the stead of NODE: on its own machine that one")
	return &cli.Command{
		Name: "node", Usage: "list, change, drain and remove nodes",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the nodes", Action: p.action(exactly(0), (*call).nodeList)},
			{Name: "show", Usage: "show one node with its engines", ArgsUsage: "NODE", Action: p.action(exactly(1), (*call).nodeShow)},
			{
				Name: "set", Usage: "change what operators may set of a node", ArgsUsage: "NODE",
				Flags: []cli.Flag{
					among(number("weight", "share of new sessions, 1 to 1000; 100 is normal"), 1, 1000),
					among(number("priority", "order of promotion from standby, 0 to 1000; the lowest first"), 0, 1000),
					text("tags", "A,B", `tags for tasks; "" removes all`),
					text("public-name", "NAME", `name by which users reach its door; "" removes it`),
				},
				Action: p.action(exactly(1), (*call).nodeSet),
			},
			{
				Name: "drain", Usage: "let a node keep its sessions and take no new ones", ArgsUsage: "NODE",
				Description: "Waits until the node itself says that its last session has ended, and shows how many are left. When the node does not answer it fails: the sessions are gone with the node, or it is only cut off.",
				Flags: []cli.Flag{
					lasting(period("deadline", "after which the sessions that are left are moved, at most 720h; none by default"), maxDrain), reason, detach(), self,
					toggle("then-standby", "when no session is left, put the node on standby; this command has to wait for it"),
				},
				Action: p.action(between(0, 1), (*call).nodeDrain),
			},
			{
				Name: "activate", Usage: "let a node take sessions", ArgsUsage: "NODE", Flags: []cli.Flag{reason, self},
				Action: p.action(between(0, 1), func(c *call) error { return c.nodeState(c.api.Activate) }),
			},
			{
				Name: "standby", Usage: "let a node take no sessions until it is activated", ArgsUsage: "NODE", Flags: []cli.Flag{reason, self},
				Action: p.action(between(0, 1), func(c *call) error { return c.nodeState(c.api.Standby) }),
			},
			{
				Name: "remove", Usage: "take a node out of the cluster for good", ArgsUsage: "NODE",
				Description: "The node need not be up: a dead one is removed as long as most of the servers are up, and that needs no --force. Its sessions are gone, their users get new ones elsewhere at their next request. Its identity can never come back; the machine may join anew under another one, after usher leave --purge. Without a quorum nothing can be removed: start the servers again, or usher recover on one that is left if most are lost for good.",
				Flags:       []cli.Flag{toggle("force", "even if the servers that remain are no majority: then nothing can be changed until the others come back"), yes()},
				Action:      p.action(exactly(1), (*call).nodeRemove),
			},
		},
	}
}

// maxDrain is the furthest deadline that the cluster takes.
const maxDrain = 30 * 24 * time.Hour

func (c *call) arg(n int) string { return c.cli.Args().Get(n) }

// nodeOrSelf is the argument NODE, or with --self the node that answers.
func (c *call) nodeOrSelf() (string, error) {
	if !c.cli.Bool("self") {
		return c.arg(0), exactly(1).check(c.cli)
	}
	if name := c.arg(0); name != "" {
		return "", usage("leave out one of them", "NODE (%s) and --self name a node each", name)
	}
	s, err := ask(c, func(ctx context.Context) (admin.Status, error) { return c.api.Status(ctx, admin.Stale()) })
	return string(s.Node.ID), err
}

func (c *call) nodeList() error {
	l, err := listAll(c, c.api.Nodes)
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		o.nodes(l.Items)
	})
}

// nodes is the table of nodes; the one that was asked is starred.
func (o *printer) nodes(all []admin.Node) {
	var rows [][]string
	for _, n := range all {
		name := n.Name
		if n.Self {
			name += " *"
		}
		healthy := 0
		for _, e := range n.Engines {
			if e.Health == peer.Healthy {
				healthy++
			}
		}
		rows = append(rows, []string{
			name, n.ID.Short(), string(n.Status), string(n.State), nodeRoles(n), fmt.Sprintf("%d/%d", healthy, len(n.Engines)),
			fmt.Sprint(n.Load.Sessions), nodeLoad(n.Load), n.Door, n.ClusterAddr,
		})
	}
	o.table([]string{"NAME", "ID", "STATUS", "STATE", "ROLE", "ENGINES", "SESSIONS", "CPU", "DOOR", "CLUSTER PORT"}, rows)
}

func nodeRoles(n admin.Node) string {
	switch {
	case n.Central:
		return "central"
	case n.Voter:
		return "voter"
	}
	return string(n.Class)
}

func nodeLoad(l admin.NodeLoad) string {
	if l.ReportAge == 0 {
		return ""
	}
	return percent(l.CPUPermille)
}

func (c *call) nodeShow() error {
	n, err := ask(c, func(ctx context.Context) (admin.Node, error) { return c.api.Node(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.nodePrint(n)
}

func (c *call) nodePrint(n admin.Node) error {
	truth := c.truthOf(n.Meta)
	return c.emit(c.cli, n, func(o *printer) {
		truth(o)
		o.facts(
			"name", n.Name,
			"id", string(n.ID),
			"status", string(n.Status),
			"since", c.when(n.Since),
			"state", string(n.State),
			"until", c.when(n.StateUntil),
			"reason", n.StateReason,
			"role", nodeRoles(n),
			"door", n.Door,
			"public name", n.PublicName,
			"cluster port", n.ClusterAddr,
			"version", n.Version,
			"starts", fmt.Sprint(n.Boot),
			"joined", c.when(n.Joined),
			"weight", fmt.Sprint(n.Weight),
			"priority", fmt.Sprint(n.Priority),
			"tags", strings.Join(n.Tags, ","),
			"cpu", nodeLoad(n.Load),
			"memory", memory(n.Load),
		)
		if len(n.Engines) > 0 {
			o.line("")
			o.engines(n.Engines)
		}
	})
}

func memory(l admin.NodeLoad) string {
	if l.MemTotalBytes == 0 {
		return ""
	}
	return bytesText(l.MemFreeBytes) + " free of " + bytesText(l.MemTotalBytes)
}

func (o *printer) engines(all []admin.Engine) {
	var rows [][]string
	for _, e := range all {
		load := ""
		if e.LoadPermille != nil {
			load = percent(*e.LoadPermille)
		}
		rows = append(rows, []string{
			e.Name, string(e.Health), fmt.Sprint(e.Sessions), fmt.Sprint(e.InFlight), load, strings.Join(e.Documents, " "), e.Error,
		})
	}
	o.table([]string{"ENGINE", "HEALTH", "SESSIONS", "IN FLIGHT", "LOAD", "DOCUMENTS", "ERROR"}, rows)
}

func (c *call) nodeSet() error {
	var u admin.NodeUpdate
	if c.cli.IsSet("weight") {
		n := c.cli.Int("weight")
		u.Weight = &n
	}
	if c.cli.IsSet("priority") {
		n := c.cli.Int("priority")
		u.Priority = &n
	}
	if c.cli.IsSet("tags") {
		tags := words(c.cli.String("tags"))
		u.Tags = &tags
	}
	if c.cli.IsSet("public-name") {
		name := c.cli.String("public-name")
		u.PublicName = &name
	}
	if u == (admin.NodeUpdate{}) {
		return usage("give --weight, --priority, --tags or --public-name", "there is nothing to set")
	}
	n, err := ask(c, func(ctx context.Context) (admin.Node, error) { return c.api.UpdateNode(ctx, c.arg(0), u) })
	if err != nil {
		return err
	}
	return c.nodePrint(n)
}

// words splits a list that was given as one value.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

type stateFunc func(context.Context, string, admin.StateChange, ...admin.Option) (admin.Node, error)

func (c *call) nodeState(set stateFunc) error {
	name, err := c.nodeOrSelf()
	if err != nil {
		return err
	}
	n, err := ask(c, func(ctx context.Context) (admin.Node, error) {
		return set(ctx, name, admin.StateChange{Reason: c.cli.String("reason"), Deadline: admin.Duration(c.cli.Duration("deadline"))})
	})
	if err != nil {
		return err
	}
	return c.emit(c.cli, n, func(o *printer) { o.line("%s is %s", n.Name, string(n.State)) })
}

func (c *call) nodeRemove() error {
	n, err := ask(c, func(ctx context.Context) (admin.Node, error) { return c.api.Node(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	if err := c.confirm(c.cli, "%s", removalQuestion(n, c.cli.Bool("force"))); err != nil {
		return err
	}
	_, err = ask(c, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, c.api.RemoveNode(ctx, string(n.ID), c.cli.Bool("force"))
	})
	if isCode(err, admin.CodeNoQuorum) {
		return &failure{exitNoQuorum, err, withoutQuorum(c.cli.Bool("force"))}
	}
	if err != nil {
		return err
	}
	return c.emit(c.cli, n, func(o *printer) {
		o.line("%s (%s) is removed", n.Name, string(n.ID))
		o.line("its sessions are gone: their users get new ones elsewhere at their next request")
		o.line("next: it may never come back under this identity; to use the machine again, run there: usher leave --purge, then usher join with a new join token")
	})
}

// removalQuestion says what a removal ends.
func removalQuestion(n admin.Node, force bool) string {
	what := "its sessions are gone already"
	if n.Status == peer.StatusAlive {
		what = "its " + count(n.Load.Sessions, "session") + " and its agent end"
	}
	q := fmt.Sprintf("remove node %s (%s, %s) from the cluster for good: %s, and it can never come back under this identity", n.Name, n.ID.Short(), n.Status, what)
	if force && n.Voter {
		q += "; with --force even if the servers that remain are no majority, and then nothing can be changed until the others come back"
	}
	return q
}

// withoutQuorum is what to do when nothing can be removed.
func withoutQuorum(force bool) string {
	next := "start the servers that are away: usher status names them; if most of the servers are lost for good, disks and all: usher recover on one that is left"
	if force {
		next = "--force does not help without a quorum; " + next
	}
	return next
}
