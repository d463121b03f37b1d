//go:build linux

// Command control measures what writes and linearizable reads of the replicated state
// cost, beside etcd on the same machine in the same minutes, and compares with the
// goals.
//
// It starts three real agents on loopback, made with init and a join token, and sends
// what an operator's token sends: PUT /v1/settings/KEY over kept connections. etcd gets
// a Put of the same size for each. Rounds alternate, each on fresh clusters; the ratio of
// medians counts. Every answer is checked, and at the end of each round the state of
// the three agents is compared and held against every acknowledged write.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "control: "+err.Error())
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "control: "+err.Error())
		os.Exit(1)
	}
}

var errUsage = errors.New("give --binary FILE, --time of at least 200ms, --rounds of at least 1, and both or none of --etcd and --etcd-client")

// options are the command line.
type options struct {
	binary string
	etcd   bench.EtcdBinaries // no Server: skipped
	time   time.Duration
	rounds int
	tree   string
	output bench.Output
}

func parse(args []string) (options, error) {
	o := options{output: bench.Output{Name: "control"}}
	flags := flag.NewFlagSet("control", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "", "the usher binary to measure")
	flags.StringVar(&o.etcd.Server, "etcd", "", "the etcd binary to measure beside it; none: skipped")
	flags.StringVar(&o.etcd.Client, "etcd-client", "", "the program of scripts/etcdbench")
	flags.DurationVar(&o.time, "time", 3*time.Second, "how long each measurement takes")
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is measured")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the output")
	flags.BoolVar(&o.output.Markdown, "markdown", false, "print Markdown")
	flags.StringVar(&o.output.Into, "into", "", "put it as Markdown into this page too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	if o.binary == "" || o.time < 200*time.Millisecond || o.rounds < 1 || flags.NArg() > 0 || (o.etcd.Server == "") != (o.etcd.Client == "") {
		return o, errUsage
	}
	return o, nil
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
	dir, err := bench.Directory("usher-control-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r, err := measure(ctx, o, dir, progress)
	if err != nil {
		return err
	}
	versions, err := bench.Versions(ctx, o.tree, o.etcd)
	if err != nil {
		return err
	}
	facts := []string{where, versions, fmt.Sprintf("%d rounds of %s a measurement; a command of usher is %d bytes in the log, and so long is etcd's value", o.rounds, o.time, r.valueBytes)}
	goals := r.goals()
	if err := o.output.Write(out, facts, append(r.tables(), bench.GoalTable(goals))); err != nil {
		return err
	}
	return bench.Judge(goals)
}

// measure goes through the rounds.
func measure(ctx context.Context, o options, dir string, progress io.Writer) (*results, error) {
	size, err := commandBytes()
	if err != nil {
		return nil, err
	}
	r := &results{valueBytes: size}
	systems := []system{{name: usherName, open: func(ctx context.Context, dir string) (cluster, error) { return openUsher(ctx, o, dir) }}}
	if o.etcd.Server != "" {
		systems = append(systems, system{name: etcdName, open: func(ctx context.Context, dir string) (cluster, error) { return openEtcd(ctx, o, dir, size) }})
	} else {
		fmt.Fprintln(progress, "SKIPPED: etcd is not here to compare with")
	}
	for round := range o.rounds {
		for _, s := range systems {
			fmt.Fprintf(progress, "round %d of %d, %s\n", round+1, o.rounds, s.name)
			own := filepath.Join(dir, fmt.Sprintf("%s-%d", s.name, round+1))
			if err := os.Mkdir(own, 0o700); err != nil {
				return nil, fmt.Errorf("make a directory: %w", err)
			}
			if err := r.round(ctx, s, own, inTurn(round), o, progress); err != nil {
				return nil, fmt.Errorf("round %d, %s: %w", round+1, s.name, err)
			}
			if err := os.RemoveAll(own); err != nil {
				return nil, fmt.Errorf("remove the round's files: %w", err)
			}
		}
	}
	return r, nil
}

// round measures everything on a new cluster.
func (r *results) round(ctx context.Context, s system, dir string, order []scenario, o options, progress io.Writer) (err error) {
	if err := r.syncs(ctx, dir); err != nil {
		return err
	}
	c, err := s.open(ctx, dir)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, what := range order {
		got, err := c.measure(ctx, what, o.time)
		if err != nil {
			return fmt.Errorf("%s: %w", what.name, err)
		}
		fmt.Fprintf(progress, "  %s\n", got.line(what.name))
		r.add(s.name, what.name, got)
	}
	if err := c.verify(ctx); err != nil {
		return fmt.Errorf("the state at the end: %w", err)
	}
	return r.syncs(ctx, dir)
}

// syncs measures what the disk itself can do.
func (r *results) syncs(ctx context.Context, dir string) error {
	rate, err := bench.DiskSyncs(ctx, dir, time.Second)
	r.diskSyncs = append(r.diskSyncs, rate)
	return err
}
