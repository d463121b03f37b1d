package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) joinTokenCommand() *cli.Command {
	return &cli.Command{
		Name: "join-token", Usage: "let machines join",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a join token and show it, once",
				Flags: []cli.Flag{
					among(number("uses", "machines that may join with it, 1 to 1000 (default 10, with --replace 1)"), 1, 1000),
					lasting(period("ttl", "until it expires, at most 8760h (default 24h)"), 365*24*time.Hour),
					text("replace", "NODE", "the machine takes this node's place and name"),
					toggle("quiet", "print the token alone"),
				},
				Action: p.action(exactly(0), (*call).joinTokenCreate),
			},
			{Name: "list", Usage: "list the join tokens, without their secrets", Action: p.action(exactly(0), (*call).joinTokenList)},
			{
				Name: "revoke", Usage: "end a join token", ArgsUsage: "ID",
				Description: "Nodes that joined with it stay.",
				Action:      p.action(exactly(1), (*call).joinTokenRevoke),
			},
		},
	}
}

func (c *call) joinTokenCreate() error {
	spec := admin.JoinTokenSpec{Uses: c.cli.Int("uses"), TTL: admin.Duration(c.cli.Duration("ttl")), Replace: c.cli.String("replace")}
	t, err := ask(c, func(ctx context.Context) (admin.NewJoinToken, error) { return c.api.CreateJoinToken(ctx, spec) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, t, func(o *printer) {
		o.line("%s", t.Token)
		if c.cli.Bool("quiet") {
			return
		}
		o.line("\nfor %s, expires %s; on the new machine:\n", count(t.Uses, "machine"), c.when(t.Expires))
		o.joinHowTo(t.Token, t.Contacts)
	})
}

// joinHowTo prints the exact command. The token goes through the environment: an
// argument would show in process lists.
func (o *printer) joinHowTo(token string, contacts []string) {
	o.line("  USHER_JOIN_TOKEN=%s usher agent %s", token, joinFlags(contacts))
}

func joinFlags(contacts []string) string {
	var flags []string
	for _, c := range contacts {
		flags = append(flags, "--join "+c)
	}
	return strings.Join(flags, " ")
}

func (c *call) joinTokenList() error {
	l, err := listAll(c, c.api.JoinTokens)
	if err != nil {
		return err
	}
	truth := c.truthOf(l.Meta)
	return c.emit(c.cli, l, func(o *printer) {
		truth(o)
		var rows [][]string
		for _, t := range l.Items {
			rows = append(rows, []string{
				t.ID, strings.ReplaceAll(t.State, "_", " "), fmt.Sprintf("%d of %d", t.Used, t.Uses), c.when(t.Expires), t.Replace, t.By, c.when(t.Born),
			})
		}
		o.table([]string{"ID", "STATE", "USED", "EXPIRES", "REPLACES", "BY", "MADE"}, rows)
	})
}

func (c *call) joinTokenRevoke() error {
	t, err := ask(c, func(ctx context.Context) (admin.JoinToken, error) { return c.api.RevokeJoinToken(ctx, c.arg(0)) })
	if err != nil {
		return err
	}
	return c.emit(c.cli, t, func(o *printer) { o.line("join token %s is revoked", t.ID) })
}
