// Command abuse shows that those who abuse the door do not harm those who use it.
//
// For each kind of abuse it starts an agent of its own, with the built-in engine, and honest
// users who ask at a fixed rate, whether they are answered or not: a request's latency counts
// from when it should have been sent, so that a stall is seen by all requests that it delays.
// The honest users, the abusers and what takes processor time for the control are copies of
// this program, each a process:
//
//	honest users --.
//	               +--> agent (door, built-in engine)
//	abusers     ---'
//
//	phases:  warm-up | alone | abuse | after | control
//
// What is fair: abusers have machines of their own, these have not. In the control a process
// does nothing but take as much processor time as the abusers took, so that what the abuse
// does to the agent is told from what it takes of the machine. The 99th percentile during the
// abuse is compared with the larger one of alone and control.
//
// Limits: twice the 99th percentile; 200 MiB of resident memory above that of before; no
// honest request fails. An abuse that did not take place fails, too.
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

	"github.com/ushercluster/usher/scripts/bench"
)

func main() {
	if err := role(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "abuse: "+err.Error())
		if errors.As(err, new(usageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// role is honest TASK, abusers TASK, burner TASK, or the driver.
func role(args []string) error {
	if len(args) == 2 {
		switch args[0] {
		case "honest":
			return beHonest(args[1], os.Stdin, os.Stdout)
		case "abusers":
			return beAbusers(args[1], os.Stdin, os.Stdout)
		case "burner":
			return burn(args[1], os.Stdin)
		}
	}
	// SIGPIPE: whoever read the output has gone.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE)
	defer cancel()
	err := run(ctx, args, os.Stdout, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	return err
}

func run(ctx context.Context, args []string, out, progress io.Writer) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	where, err := bench.Machine(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "usher-abuse-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &driver{options: o, dir: dir, progress: progress}
	all, err := d.all(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted; all that was started was ended")
	}
	if err != nil {
		return err
	}
	return o.write(out, report{Facts: append([]string{where}, o.facts()...), Results: all})
}
