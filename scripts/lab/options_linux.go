package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/plan"
)

var errUsage = errors.New("the command line is wrong")

// options are the command line.
type options struct {
	binary string
	tree   string // what the binary was made from
	size   plan.Size
	seed   uint64 // of the first run; each next one has the next
	kinds  []plan.Kind
	chosen bool // the kinds, by --faults
	nodes  int  // 0: as the size has it
	runs   int
	keep   bool
	fresh  bool
	list   bool
	sweep  bool
	dir    string // for what is kept of failures
	output bench.Output
}

func parse(args []string, help io.Writer) (options, error) {
	o := options{output: bench.Output{Name: "lab"}}
	size := "smoke"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		size, args = args[0], args[1:]
	}
	var faults string
	var steps, sessions int
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.SetOutput(help)
	flags.StringVar(&o.binary, "binary", "", "the usher binary, built with the tag lab")
	flags.StringVar(&o.tree, "tree", "of unknown origin", "what the binary was made from, for the report")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the first run; with it there is one run unless --runs says more (default: by the clock)")
	flags.StringVar(&faults, "faults", "", "only these faults, such as kill,pause (default: those of the size)")
	flags.IntVar(&o.nodes, "nodes", 0, "nodes of each cluster, 3 to 9 (default: as the size has it)")
	flags.IntVar(&o.runs, "runs", 0, "clusters, one after the other (default: as the size has it)")
	flags.IntVar(&steps, "steps", 0, "steps of each run (default: as the size has it)")
	flags.IntVar(&sessions, "sessions", -1, "sessions at the doors (default: as the size has it)")
	flags.BoolVar(&o.keep, "keep", false, "keep logs and history of runs that pass, too")
	flags.BoolVar(&o.fresh, "fresh", false, "do not go on where an earlier series of this size was interrupted")
	flags.BoolVar(&o.list, "list", false, "list faults and sizes, and end")
	flags.BoolVar(&o.sweep, "sweep", false, "remove what killed runs left behind, and end")
	flags.StringVar(&o.dir, "out", "out/lab", "directory for what is kept")
	flags.BoolVar(&o.output.Markdown, "markdown", false, "print the report as Markdown")
	flags.StringVar(&o.output.Into, "into", "", "put it as Markdown into this page, too")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w: %w", errUsage, err)
	}
	if o.list || o.sweep {
		return o, nil
	}
	return o, o.complete(size, faults, steps, sessions, flags.NArg())
}

// complete checks what was given, and fills in what was not.
func (o *options) complete(size, faults string, steps, sessions, surplus int) error {
	var ok bool
	if o.size, ok = plan.SizeOf(size); !ok {
		return fmt.Errorf("%w: there is no size %q", errUsage, size)
	}
	switch {
	case surplus > 0:
		return fmt.Errorf("%w: there are words after the flags", errUsage)
	case o.binary == "":
		return fmt.Errorf("%w: --binary is missing", errUsage)
	case o.nodes != 0 && (o.nodes < 3 || o.nodes > 9):
		return fmt.Errorf("%w: --nodes has to be 3 to 9", errUsage)
	case o.runs < 0 || steps < 0:
		return fmt.Errorf("%w: --runs and --steps have to be at least 1", errUsage)
	}
	o.kinds = plan.Kinds()
	if faults != "" {
		o.kinds, o.chosen = nil, true
		for name := range strings.SplitSeq(faults, ",") {
			k, ok := plan.KindOf(strings.TrimSpace(name))
			if !ok {
				return fmt.Errorf("%w: there is no fault %q", errUsage, name)
			}
			o.kinds = append(o.kinds, k)
		}
	}
	if o.runs == 0 {
		o.runs = o.size.Runs
		if o.seed != 0 {
			o.runs = 1
		}
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().Unix())
	}
	if steps > 0 {
		o.size.Steps = steps
	}
	if sessions >= 0 {
		o.size.Sessions = sessions
	}
	return nil
}
