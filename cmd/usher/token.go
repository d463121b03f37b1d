package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "let people and programs use the admin API",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make an API token and show it, once", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					withDefault(text("role", "ROLE", "viewer, operator or admin"), "viewer"),
					lasting(period("ttl", "until it expires, at most 87600h; by default never"), 10*365*24*time.Hour),
					toggle("quiet", "print the token alone"),
				},
				Action: p.action(exactly(1), (*call).tokenCreate),
			},
			{Name: "list", Usage: "list the API tokens, without their secrets", Action: p.action(exactly(0), (*call).tokenList)},
			{Name: "revoke", Usage: "end an API token at once", ArgsUsage: "ID", Action: p.action(exactly(1), (*call).tokenRevoke)},
		},
	}
}

func (c *call) tokenCreate() error {
	spec := admin.TokenSpec{Name: c.arg(0), Role: c.cli.String("role"), TTL: admin.Duration(c.cli.Duration("ttl"))}
	t, err := ask(c, func(ctx context.Context) (admin.NewToken, error) { return c.api.CreateToken(ctx, spec) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, t, func(o *printer) {
		o.line("%s", t.Secret)
		if !c.cli.Bool("quiet") {
			o.line("\n%s may do what a %s may; it is shown only now. Use it as USHER_TOKEN, or in a file with --token-file.", t.Name, t.Role)
		}
	})
}

func (c *call) tokenList() error {
	l, err := listAll(c, c.api.Tokens)
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, t := range l.Items {
			expires := "never"
			if !t.Expires.IsZero() {
				expires = c.when(t.Expires)
			}
			rows = append(rows, []string{t.ID, t.Name, t.Role, t.State, expires, t.By, c.when(t.Born)})
		}
		o.table([]string{"ID", "NAME", "ROLE", "STATE", "EXPIRES", "BY", "MADE"}, rows)
	})
}

func (c *call) tokenRevoke() error {
	t, err := ask(c, func(ctx context.Context) (admin.Token, error) { return c.api.RevokeToken(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, t, func(o *printer) { o.line("token %s (%s) is revoked", t.ID, t.Name) })
}
