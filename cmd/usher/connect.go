package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
)

// adminTokenName is the first admin token's file in the data directory, 0600.
const adminTokenName = "admin.token"

// connect makes the client of the admin API that the line asks for.
func (p *program) connect(c *cli.Context) (*admin.Client, error) {
	if address := p.address(c); address != "" {
		return p.client(c, address, false)
	}
	return p.client(c, p.ownAddress(c), true)
}

// client makes the client of an address; found says that the line did not name it.
func (p *program) client(c *cli.Context, address string, found bool) (*admin.Client, error) {
	token, err := p.token(c, found)
	if err != nil {
		return nil, err
	}
	client, err := admin.NewClient(admin.ClientConfig{Address: address, Token: token, UserAgent: "usher/" + p.build.Version})
	if err != nil {
		return nil, &failure{exitUsage, err, "give unix:/path, http://host:port or https://host:port with --address or USHER_ADDRESS"}
	}
	return client, nil
}

// address is where the operator points; "" for nowhere.
func (p *program) address(c *cli.Context) string {
	if a := c.String("address"); a != "" {
		return a
	}
	a, _ := p.env("USHER_ADDRESS")
	return a
}

// ownAddress is the admin API of the agent on this machine: its socket, where one
// is found, else the default port.
func (p *program) ownAddress(c *cli.Context) string {
	for _, path := range p.sockets(c) {
		if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
			return "unix:" + path
		}
	}
	return "http://" + net.JoinHostPort("127.0.0.1", config.DefaultAPIPort)
}

func (p *program) sockets(c *cli.Context) []string {
	cfg := p.ownConfig(c)
	return []string{
		cfg.API.Socket,
		filepath.Join(cfg.DataDir, config.SocketName),
		filepath.Join(config.SystemRuntimeDir, config.SocketName),
	}
}

// ownConfig is the configuration without the file: enough to find an agent that was
// started with the defaults. A value that cannot be typed is the agent's business.
func (p *program) ownConfig(c *cli.Context) config.Config {
	cfg, _, _ := config.Merge(config.Flags(given(c)), config.Environment(p.env), config.Defaults(p.facts))
	return cfg
}

// token finds the caller's token; none is fine on a socket. The first admin's file
// is used for this machine's own agent only: a token must not go anywhere that its
// owner did not name.
func (p *program) token(c *cli.Context, own bool) (string, error) {
	value, _ := p.env("USHER_TOKEN")
	where := "USHER_TOKEN"
	switch file := c.String("token-file"); file {
	case "":
	case "-":
		where = "standard input"
	default:
		where = file
	}
	text, err := identity.ReadSecret(c.String("token-file"), value, p.stdin)
	if errors.Is(err, identity.ErrNoSecret) {
		if !own {
			return "", nil
		}
		where = filepath.Join(p.ownConfig(c).DataDir, adminTokenName)
		text, err = identity.ReadSecret(where, "", nil)
		if err != nil {
			return "", nil // not there, or not ours to read
		}
	}
	if err != nil {
		return "", &failure{exitDenied, fmt.Errorf("API token: %w", err), "give the file of an API token with --token-file, or set USHER_TOKEN"}
	}
	if _, err := identity.ParseAPIToken(text); err != nil {
		return "", &failure{exitDenied, fmt.Errorf("API token in %s: %w", where, err), "copy the token again, or make one on a node with usher token create"}
	}
	return text, nil
}

// action makes a command's action of a function that needs the admin API and a
// context that an interrupt ends.
func (p *program) action(want arity, do func(*call) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := want.check(c); err != nil {
			return err
		}
		client, err := p.connect(c)
		if err != nil {
			return err
		}
		defer client.Close()
		ctx, cancel := p.untilSignal(c.Context)
		defer cancel()
		return do(&call{program: p, cli: c, api: client, ctx: ctx})
	}
}

// call is one command that talks to the admin API.
type call struct {
	*program
	cli *cli.Context
	api *admin.Client
	ctx context.Context // until an interrupt
}

// timed is ctx with the deadline of one call of the API.
func (c *call) timed() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, c.cli.Duration("timeout"))
}

// ask makes one call of the API within the deadline.
func ask[T any](c *call, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := c.timed()
	defer cancel()
	return f(ctx)
}

// untilSignal derives a context that the first signal cancels.
func (p *program) untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-p.signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

// arity is how many arguments a command takes.
type arity struct {
	min, max int // max -1: any number
}

func exactly(n int) arity           { return arity{n, n} }
func between(least, most int) arity { return arity{least, most} }

func (a arity) check(c *cli.Context) error {
	n := c.Args().Len()
	name := c.Command.HelpName
	switch {
	case n < a.min:
		return usage("write "+name+" "+c.Command.ArgsUsage, "%s is missing", missingArgument(c.Command.ArgsUsage, n))
	case a.max >= 0 && n > a.max:
		return usage("see "+name+" --help", "%q is one argument too many", c.Args().Get(a.max))
	}
	return nil
}
