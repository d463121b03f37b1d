// Command lab is the fault laboratory: it makes clusters of real agents in network
// namespaces, lets clients work on them, breaks them by a plan that a seed decides, and checks
// from the history of every operation that usher kept its promises.
//
//	plan (seed, size) --> run: world up, load on
//	                           each step: probe, inject, probe, heal, measure
//	                           load off, final states, history.Check, leaks
//	                      --> one line; out/lab/SEED when it failed; a page
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/ushercluster/usher/scripts/lab/detection"
	"github.com/ushercluster/usher/scripts/lab/night"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/sessions"
	"github.com/ushercluster/usher/scripts/lab/trial"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// Exit codes beside 0.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	// The first thread stays with this goroutine, so that no other one takes it into a
	// namespace: the process as a whole would count as a part of that.
	runtime.LockOSThread()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage), errors.Is(err, night.ErrUsage), errors.Is(err, trial.ErrUsage):
		fmt.Fprintf(os.Stderr, "lab: %v\nnext: see lab.sh --help\n", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintf(os.Stderr, "lab: %v\n", err)
		os.Exit(exitFailed)
	}
}

func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if measure := measurementOf(args); measure != nil {
		return here(ctx, out, progress, func() error { return measure(ctx, args[1:], out, progress) })
	}
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	switch {
	case o.list:
		return list(out)
	case o.sweep:
		return sweep(ctx, progress)
	}
	s := &series{options: o, out: out, progress: progress}
	return here(ctx, out, progress, func() error { return s.run(ctx) })
}

// measurement is a kind of run of its own, beside the series.
type measurement func(ctx context.Context, args []string, out, progress io.Writer) error

// measurementOf finds it by the first word; nil: it is none.
func measurementOf(args []string) measurement {
	if len(args) == 0 {
		return nil
	}
	return map[string]measurement{night.Name: night.Run, detection.Name: detection.Run, sessions.Name: sessions.Run}[args[0]]
}

// here does what needs a world, unless this machine lacks something.
func here(ctx context.Context, out, progress io.Writer, do func() error) error {
	if missing := world.Missing(); missing != "" {
		fmt.Fprintln(out, "SKIPPED: "+missing)
		return nil
	}
	if err := sweep(ctx, progress); err != nil {
		return err
	}
	return do()
}

// list shows what there is to choose from.
func list(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, k := range plan.Kinds() {
		var roles []string
		for _, r := range k.Roles {
			roles = append(roles, string(r))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", k.Name, strings.Join(roles, ", "), k.About)
	}
	fmt.Fprintln(w)
	for _, s := range plan.Sizes() {
		fmt.Fprintf(w, "%s\t%d runs\tof %d steps, %d sessions, on %v nodes\n", s.Name, s.Runs, s.Steps, s.Sessions, s.Nodes)
	}
	return w.Flush()
}

// sweep removes what an earlier laboratory left behind.
func sweep(ctx context.Context, progress io.Writer) error {
	left, err := world.Sweep(ctx)
	for _, l := range left {
		fmt.Fprintln(progress, "removed what an earlier run left behind: "+l)
	}
	return err
}
