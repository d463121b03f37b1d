// Command door measures what the front door costs beside HAProxy, nginx and Caddy on the
// same machine in the same minutes, and compares with the goals.
//
// It is three programs in one. The driver starts everything and judges; load and backend
// are copies of it. The proxy under test has core 0 for itself, load and backend share
// core 1:
//
//	load (core 1) --> proxy under test (core 0) --> backend (core 1)
//	  |                  ^
//	  '-- /proc/PID/stat of the proxy, at both ends of the window
//
// One proxy is alive at a time, and the order is reversed every round. Any answer but the
// expected one ends the run.
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
		fmt.Fprintln(os.Stderr, "door: "+err.Error())
		if errors.As(err, new(usageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// role is backend ADDRESS, load TASK, or the driver.
func role(args []string) error {
	if len(args) == 2 && args[0] == "backend" {
		return serveBackend(args[1])
	}
	if len(args) == 2 && args[0] == "load" {
		return runLoad(args[1], os.Stdout)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
	dir, err := os.MkdirTemp("", "usher-door-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { // proxies may give up the rights of root
		return fmt.Errorf("open the directory to others: %w", err)
	}
	d := &driver{options: o, dir: dir, progress: progress}
	if err := d.measure(ctx); err != nil {
		return err
	}
	goals := d.results.judged()
	tables := d.results.tables()
	if len(goals) > 0 {
		tables = append(tables, bench.GoalTable(goals))
	}
	if err := o.output.Write(out, append([]string{where}, d.facts()...), tables); err != nil {
		return err
	}
	return bench.Judge(goals)
}
