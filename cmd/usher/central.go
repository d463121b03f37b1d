package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) centralCommand() *cli.Command {
	return &cli.Command{
		Name: "central", Usage: "show and move the central role",
		Subcommands: []*cli.Command{
			{Name: "show", Usage: "show which node schedules now", Action: p.action(exactly(0), (*call).centralShow)},
			{
				Name: "move", Usage: "hand the central role to another server", ArgsUsage: "[NODE]",
				Description: "Without a node the cluster chooses one. Sessions do not notice.",
				Action:      p.action(between(0, 1), (*call).centralMove),
			},
		},
	}
}

func (c *call) centralShow() error {
	r, err := ask(c, func(ctx context.Context) (admin.Central, error) { return c.api.Central(ctx) })
	if err != nil {
		return err
	}
	truth := c.truthOf(r.Meta)
	return c.emit(c.cli, r, func(o *printer) {
		truth(o)
		o.facts("central", refName(r.Node, "none"), "term", fmt.Sprint(r.Term))
	})
}

func (c *call) centralMove() error {
	g := &progress{p: c.program}
	defer g.done()
	g.say("moving the central role")
	r, err := ask(c, func(ctx context.Context) (admin.Central, error) { return c.api.MoveCentral(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	g.done()
	return c.emit(c.cli, r, func(o *printer) { o.line("%s is central", refName(r.Node, "nobody yet")) })
}
