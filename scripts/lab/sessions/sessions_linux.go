// Package sessions measures in the laboratory's world what users notice of the loss of a node:
// each loss happens once to a cluster of its own, of three nodes with two thousand sessions; and
// two of three nodes are killed, so that there is no quorum, and the third goes on alone.
package sessions

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/trial"
)

// Name is the word on the command line.
const Name = "sessions"

// Losses, in their order.
const (
	killed   = "killed"
	silent   = "black-holed"
	stopped  = "stopped"
	noQuorum = "no-quorum"
)

func losses() []string { return []string{killed, silent, stopped, noQuorum} }

type options struct {
	trial.Options
	sessions int
	every    time.Duration // between two requests of a session, and two messages
	stretch  time.Duration // without a quorum
	losses   []string
}

func parse(args []string, help io.Writer) (options, error) {
	var o options
	var only string
	var err error
	o.Options, err = trial.Parse(Name, args, help, func(f *flag.FlagSet) {
		f.IntVar(&o.sessions, "sessions", 2000, "sessions at the doors, every fifth with a WebSocket")
		f.DurationVar(&o.every, "every", time.Second, "time between two requests of a session, and between two messages on a WebSocket")
		f.DurationVar(&o.stretch, "stretch", 10*time.Minute, "for how long there is no quorum")
		f.StringVar(&only, "losses", strings.Join(losses(), ","), "only these")
	})
	if err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(only, ",") {
		if !slices.Contains(losses(), name) {
			return o, fmt.Errorf("%w: --losses takes %s", trial.ErrUsage, strings.Join(losses(), ","))
		}
		o.losses = append(o.losses, name)
	}
	if o.sessions < 15 || o.every < 100*time.Millisecond || o.stretch < time.Second {
		return o, fmt.Errorf("%w: give --sessions of at least 15, --every of at least 100ms, --stretch of at least 1s", trial.ErrUsage)
	}
	return o, nil
}

// moved is what one loss has brought about.
type moved struct {
	what string
	history.Moved
}

// measurement is all that is measured.
type measurement struct {
	options
	progress io.Writer

	moved []moved
	kept  *kept // nil: not measured
}

// Run measures and reports. Its error is bench.ErrMissed when a goal was not reached.
func Run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	m := &measurement{options: o, progress: progress}
	began := time.Now()
	for _, what := range m.losses {
		if err := m.once(ctx, what); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	goals := m.goals()
	if err := m.Report(ctx, out, began, m.facts(), append(m.tables(), bench.GoalTable(goals))); err != nil {
		return err
	}
	return bench.Judge(goals)
}

var errQuorum = errors.New("there is a quorum, or nobody says that there is none")
