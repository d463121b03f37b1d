package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) clusterCommand() *cli.Command {
	return &cli.Command{
		Name: "cluster", Usage: "rename the cluster",
		Subcommands: []*cli.Command{
			{
				Name: "rename", Usage: "give the cluster another name", ArgsUsage: "NAME",
				Description: "The name is for people; nothing else changes.",
				Action:      p.action(exactly(1), (*call).clusterRename),
			},
		},
	}
}

func (c *call) clusterRename() error {
	row, err := ask(c, func(ctx context.Context) (admin.Cluster, error) { return c.api.RenameCluster(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, row, func(o *printer) { o.line("the cluster is called %s", row.Name) })
}
