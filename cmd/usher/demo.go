package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/engine/builtin"
)

func (p *program) demoCommand() *cli.Command {
	return &cli.Command{
		Name: "demo", Usage: "run a whole cluster on this machine, to try things",
		Description: "Several agents with built-in engines and generated documents, each a process of its own that you may kill and start again. Everything is on loopback and in a temporary directory, and Ctrl-C leaves nothing behind.",
		Flags: []cli.Flag{
			withNumber(number("nodes", "how many agents, 1 to 9"), 3),
			number("port-base", "first of the ports; by default a free block from 18080 on"),
			text("documents", "DIR", "serve these CSV files instead of generated ones"),
		},
		Action: p.demoRun,
		Subcommands: []*cli.Command{{
			Name: "env", Usage: "print the variables that point the command at the demonstration",
			Description: "Of several the newest that is ready, or the one at --port-base:\n  eval \"$(usher demo env)\"",
			Flags:       []cli.Flag{number("port-base", "the demonstration at these ports")},
			Action:      p.demoEnvRun,
		}, p.keepCommand()},
	}
}

func withNumber(f *cli.IntFlag, n int) *cli.IntFlag {
	f.Value = n
	return f
}

const (
	demoNodesMost  = 9
	demoTaskEvery  = 30 * time.Second
	demoSeed       = 20_240_229
	demoStopNode   = 2 * time.Second // an agent's own bound
	demoStopBound  = 8 * time.Second // until what still runs is killed
	demoStartBound = 60 * time.Second
	demoVoters     = 20 * time.Second // for the servers to become voters
	demoPoll       = 100 * time.Millisecond
)

func (p *program) demoRun(c *cli.Context) (err error) {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	d, err := p.newDemo(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	ctx, cancel := p.untilSignal(c.Context)
	defer cancel()
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			return context.Canceled
		}
		return err
	}
	if err := d.announce(c); err != nil {
		return err
	}
	return d.watch(ctx)
}

// newDemo chooses directory and ports. Nothing runs yet.
func (p *program) newDemo(c *cli.Context) (*demo, error) {
	n := c.Int("nodes")
	if n < 1 || n > demoNodesMost {
		return nil, usage("use --nodes 1 to 9", "--nodes %d is out of range", n)
	}
	documents := c.String("documents")
	if documents != "" {
		var err error
		if documents, err = filepath.Abs(documents); err != nil {
			return nil, fmt.Errorf("find documents: %w", err)
		}
	}
	base, claim, err := claimPorts(n, c.Int("port-base"))
	if err != nil {
		return nil, err
	}
	sweepDemos(os.TempDir())
	d := &demo{p: p, base: base, claim: claim, documents: documents, began: p.now(), progress: &progress{p: p}}
	if err := d.open(n); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// prepareDocuments returns the directory of documents and the one that a task
// reloads.
func (d *demo) prepareDocuments() (task string, err error) {
	if d.documents == "" {
		d.documents = filepath.Join(d.dir, "documents")
		if err := builtin.WriteDemoDocuments(d.documents, demoSeed); err != nil {
			return "", err
		}
		return "sales", nil
	}
	files, err := filepath.Glob(filepath.Join(d.documents, "*.csv"))
	if err != nil || len(files) == 0 {
		return "", usage("name a directory of *.csv files with --documents, or leave it out", "there is no CSV file in %s", d.documents)
	}
	slices.Sort(files)
	return strings.TrimSuffix(filepath.Base(files[0]), ".csv"), nil
}
