package main

import (
	"context"
	"errors"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
)

func (p *program) joinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "make this machine a node of a cluster, without starting it", ArgsUsage: "HOST[:PORT]...",
		Description: "The join token comes from --join-token-file or USHER_JOIN_TOKEN, never from an argument. It is tried until a member lets this machine in. usher agent --join does the same and then starts.",
		Flags:       configFlags("data-dir", "name", "bind", "advertise", "door", "join-token-file"),
		Action:      p.joinRun,
	}
}

// joinAnswer is what join prints as JSON.
type joinAnswer struct {
	ClusterID   string   `json:"cluster_id"`
	ClusterName string   `json:"cluster_name"`
	NodeName    string   `json:"node_name"`
	DataDir     string   `json:"data_dir"`
	Contacts    []string `json:"contacts"`
	Warnings    []string `json:"warnings"`
}

func (p *program) joinRun(c *cli.Context) error {
	if err := between(1, -1).check(c); err != nil {
		return err
	}
	cfg, _, err := p.configure(c)
	if err != nil {
		return err
	}
	cfg.Cluster.Join = c.Args().Slice()
	if err := cfg.Validate(); err != nil {
		return err
	}
	switch has, err := p.machine.HasIdentity(cfg.DataDir); {
	case err != nil:
		return err
	case has:
		return permanent("start it with "+startCommand(c)+", or name another directory with --data-dir", "there is a node in %s already", cfg.DataDir)
	}
	g := &progress{p: p}
	defer g.done()
	a, err := p.join(c.Context, cfg, func(line string) { g.say("%s", line) })
	g.done()
	if err != nil {
		return err
	}
	out := joinAnswer{ClusterID: a.ClusterID, ClusterName: a.ClusterName, NodeName: a.NodeName, DataDir: cfg.DataDir, Contacts: a.Contacts, Warnings: a.Warnings}
	return p.emit(c, out, func(o *printer) {
		o.line("%s is a node of %s", a.NodeName, a.ClusterName)
		for _, w := range a.Warnings {
			o.line("warning: %s", w)
		}
		o.line("\nStart it:\n\n  %s", startCommand(c))
	})
}

// join finds the token and joins.
func (p *program) join(ctx context.Context, cfg config.Config, say func(string)) (identity.JoinAnswer, error) {
	token, err := p.joinToken(cfg)
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	ctx, cancel := p.untilSignal(ctx)
	defer cancel()
	return p.machine.Join(ctx, cfg, agent.JoinOptions{Token: token, Now: p.now, Progress: say})
}

func (p *program) joinToken(cfg config.Config) (string, error) {
	const next = "make one on a node of the cluster with usher join-token create, and set USHER_JOIN_TOKEN or --join-token-file"
	value, _ := p.env("USHER_JOIN_TOKEN")
	token, err := identity.ReadSecret(cfg.Cluster.JoinTokenFile, value, p.stdin)
	if errors.Is(err, identity.ErrNoSecret) {
		return "", permanent(next, "there is no join token")
	}
	if err != nil {
		return "", permanent(next, "%w", err)
	}
	return token, nil
}

// joinFailure finds the exit code and next step of a refused join.
func joinFailure(err error, refused *identity.JoinError) *failure {
	f := &failure{exitFailed, err, refused.Next}
	switch {
	case refused.Code == identity.JoinNoQuorum:
		f.code = exitNoQuorum
	case isPermanent(err):
		f.code = exitPermanent
	}
	return f
}
