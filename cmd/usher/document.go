package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) documentCommand() *cli.Command {
	return &cli.Command{
		Name: "document", Usage: "list and show documents",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the documents that engines hold or tasks reload", Action: p.action(exactly(0), (*call).documentList)},
			{Name: "show", Usage: "show where a document is held, and its sessions", ArgsUsage: "DOCUMENT", Action: p.action(exactly(1), (*call).documentShow)},
		},
	}
}

func (c *call) documentList() error {
	l, err := listAll(c, c.api.Documents)
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, d := range l.Items {
			rows = append(rows, []string{d.Key, fmt.Sprint(len(d.Engines)), strings.Join(d.Tasks, " ")})
		}
		o.table([]string{"DOCUMENT", "HELD BY ENGINES", "TASKS"}, rows)
	})
}

func (c *call) documentShow() error {
	d, err := ask(c, func(ctx context.Context) (admin.Document, error) { return c.api.Document(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	truth := c.truthOf(d.Meta)
	return c.emit(c.cli, d, func(o *printer) {
		truth(o)
		var engines []string
		for _, e := range d.Engines {
			engines = append(engines, string(e))
		}
		o.facts(
			"document", d.Key,
			"held by", strings.Join(engines, " "),
			"tasks", strings.Join(d.Tasks, " "),
			"sessions", fmt.Sprint(len(d.Sessions)),
		)
		if len(d.Sessions) > 0 {
			o.line("")
			o.sessions(c.program, d.Sessions)
		}
		o.missing(d.Missing)
	})
}
