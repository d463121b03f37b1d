//go:build linux

// Command failover measures for how long nobody's write is acknowledged when the
// leader is lost or the leadership is moved, and compares with the goals.
//
// Real agents on loopback take writes all the time. The leader is killed with SIGKILL,
// stopped with SIGSTOP, and, where network namespaces can be had, put behind a black
// hole; the leadership is moved as an operator moves it. Writers use the other nodes,
// and go to the next one at once when a try fails. At the end every key must hold what
// was acknowledged last, or something later. etcd goes through the same beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/ushercluster/usher/scripts/bench"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "failover: "+err.Error())
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "failover: "+err.Error())
		os.Exit(1)
	}
}

var errUsage = errors.New("give --binary FILE, --kills and --moves of at least 1, --nodes of 3 to 9 each such as 3,5, and both or none of --etcd and --etcd-client")

// options are the command line.
type options struct {
	binary string
	etcd   bench.EtcdBinaries // no Server: skipped
	kills  int
	moves  int
	nodes  []int
	tree   string
	output bench.Output
}

func parse(args []string) (options, error) {
	o := options{output: bench.Output{Name: "failover"}}
	var nodes string
	flags := flag.NewFlagSet("failover", flag.ContinueOnError)
	flags.StringVar(&o.binary, "binary", "", "the usher binary to measure")
	flags.StringVar(&o.etcd.Server, "etcd", "", "the etcd binary to measure beside it; none: skipped")
	flags.StringVar(&o.etcd.Client, "etcd-client", "", "the program of scripts/etcdbench")
	flags.IntVar(&o.kills, "kills", 40, "how often the leader is killed; an eighth as often it is stopped and cut off")
	flags.IntVar(&o.moves, "moves", 40, "how often the leadership is moved")
	flags.StringVar(&nodes, "nodes", "3,5", "sizes of the clusters")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the output")
	flags.BoolVar(&o.output.Markdown, "markdown", false, "print Markdown")
	flags.StringVar(&o.output.Into, "into", "", "put it as Markdown into this page too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	for text := range strings.SplitSeq(nodes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 3 || n > 9 {
			return o, errUsage
		}
		o.nodes = append(o.nodes, n)
	}
	if o.binary == "" || o.kills < 1 || o.moves < 1 || flags.NArg() > 0 || (o.etcd.Server == "") != (o.etcd.Client == "") {
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
	dir, err := bench.Directory("usher-failover-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p := &plan{options: o, dir: dir, progress: progress}
	if err := p.run(ctx); err != nil {
		return err
	}
	versions, err := bench.Versions(ctx, o.tree, o.etcd)
	if err != nil {
		return err
	}
	goals := p.goals()
	facts := append([]string{where, versions}, p.circumstances()...)
	if err := o.output.Write(out, facts, []bench.Table{p.table(), bench.GoalTable(goals)}); err != nil {
		return err
	}
	return bench.Judge(goals)
}
