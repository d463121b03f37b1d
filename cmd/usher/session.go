package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) sessionCommand() *cli.Command {
	return &cli.Command{
		Name: "session", Usage: "list, show and close users' sessions",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the sessions",
				Flags: []cli.Flag{
					text("node", "NODE", "only those on this node"),
					text("engine", "ENGINE", "only those on this engine"),
					text("document", "DOCUMENT", "only those on this document"),
				},
				Action: p.action(exactly(0), (*call).sessionList),
			},
			{
				Name: "show", Usage: "show one session", ArgsUsage: "SESSION",
				Description: "SESSION is its ID or the beginning of that: at least 8 digits, as lists, pages and engines show them.",
				Action:      p.action(exactly(1), (*call).sessionShow),
			},
			{
				Name: "close", Usage: "end a session", ArgsUsage: "SESSION",
				Description: "SESSION is its ID or the beginning of that, at least 8 digits. What it holds in the engine's memory is lost; its browser begins a new one at its next request.",
				Action:      p.action(exactly(1), (*call).sessionClose),
			},
		},
	}
}

func (c *call) sessionList() error {
	f := admin.SessionFilter{Node: c.cli.String("node"), Engine: c.cli.String("engine"), Document: c.cli.String("document")}
	l, err := listAll(c, filtered(c.api.Sessions, f))
	if err != nil {
		return err
	}
	if err := c.checkEngine(f.Engine, l); err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		o.sessions(c.program, l.Items)
		o.missing(l.Missing)
	})
}

// checkEngine tells an engine without sessions from one that does not exist.
func (c *call) checkEngine(name string, l admin.List[admin.Session]) error {
	if name == "" || len(l.Items) > 0 {
		return nil
	}
	engines, err := listAll(c, c.api.Engines)
	if err != nil {
		return err
	}
	var names []string
	for _, e := range engines.Items {
		if e.Name == name || string(e.ID) == name {
			return nil
		}
		names = append(names, e.Name)
	}
	slices.Sort(names)
	next := "no node has an engine"
	if names = slices.Compact(names); len(names) > 0 {
		next = "there are: " + strings.Join(names, ", ")
	}
	return failed(next, "no engine is called %q", name)
}

func (o *printer) sessions(p *program, all []admin.Session) {
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{
			s.ID, nodeName(s.Node), s.Engine.Name(), s.User, s.Client, strings.Join(s.Documents, " "), p.when(s.Created), p.when(s.LastSeen),
			fmt.Sprint(s.InFlight), fmt.Sprint(s.WebSockets),
		})
	}
	o.table([]string{"SESSION", "NODE", "ENGINE", "USER", "CLIENT", "DOCUMENTS", "BEGAN", "SEEN", "IN FLIGHT", "WEBSOCKETS"}, rows)
}

// missing names the nodes whose part of the answer is not there.
func (o *printer) missing(nodes []admin.Ref) {
	if len(nodes) == 0 {
		return
	}
	var names []string
	for _, n := range nodes {
		names = append(names, nodeName(n))
	}
	o.line("\nnot answered, so not listed: %s", strings.Join(names, ", "))
}

func (c *call) sessionShow() error {
	id, err := c.sessionID(c.arg(0))
	if err != nil {
		return err
	}
	s, err := ask(c, func(ctx context.Context) (admin.Session, error) { return c.api.Session(ctx, id) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, s, func(o *printer) {
		o.facts(
			"session", s.ID,
			"node", nodeName(s.Node),
			"engine", s.Engine.Name(),
			"user", s.User,
			"client", s.Client,
			"documents", strings.Join(s.Documents, " "),
			"began", c.when(s.Created),
			"seen", c.when(s.LastSeen),
			"in flight", fmt.Sprint(s.InFlight),
			"websockets", fmt.Sprint(s.WebSockets),
		)
	})
}

func (c *call) sessionClose() error {
	id, err := c.sessionID(c.arg(0))
	if err != nil {
		return err
	}
	_, err = ask(c, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.api.CloseSession(ctx, id) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, map[string]string{"id": id, "state": "closed"}, func(o *printer) { o.line("session %s is closed", id) })
}
