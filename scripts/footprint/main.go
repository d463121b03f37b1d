// Command footprint measures what one idle agent costs a machine: its memory and processor
// time, the size of its binary, and how long a restarted node takes until it knows
// a leader. It fails when a goal is missed.
//
// It starts a cluster of one node with the built-in engine on loopback, in a
// directory of its own, and removes both again.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "footprint: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("footprint", flag.ContinueOnError)
	binary := flags.String("binary", "", "the usher binary to measure")
	idle := flags.Duration("idle", 20*time.Second, "how long the agent idles while it is measured")
	restarts := flags.Int("restarts", 5, "how often it is restarted")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" || *idle < time.Second || *restarts < 1 || flags.NArg() > 0 {
		return errors.New("give --binary FILE, --idle of at least 1s and --restarts of at least 1")
	}
	dir, err := os.MkdirTemp("", "usher-footprint-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	m, err := measure(ctx, *binary, dir, *idle, *restarts)
	if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
		return err
	}
	where, err := thisMachine(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n%s\n\n", time.Now().Format(time.RFC3339), where)
	return report(out, m.figures())
}

// measure makes the node, lets it idle and restarts it.
func measure(ctx context.Context, binary, dir string, idle time.Duration, restarts int) (_ measured, err error) {
	m := measured{idle: idle}
	info, err := os.Stat(binary)
	if err != nil {
		return m, fmt.Errorf("look at the binary: %w", err)
	}
	m.binaryBytes = info.Size()
	n, err := newNode(ctx, binary, dir)
	if err != nil {
		return m, err
	}
	if _, err := n.start(ctx); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, n.stop()) }()
	if m.rssBytes, m.processor, err = n.idle(ctx, idle); err != nil {
		return m, err
	}
	for range restarts {
		if err := n.stop(); err != nil {
			return m, err
		}
		took, err := n.start(ctx)
		if err != nil {
			return m, err
		}
		m.restarts = append(m.restarts, took)
	}
	return m, nil
}
