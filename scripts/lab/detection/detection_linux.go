// Package detection measures in the laboratory's world what the time until a lost leader is
// noticed costs, and what it saves: for how long no write is acknowledged, by election timeout,
// with the detection of crashes and without, by how the leader is lost; how often a leader that
// is merely slow is taken for lost; and what becomes of leaders that crash again and again.
package detection

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/trial"
)

// Name is the word on the command line.
const Name = "detection"

// Parts of the measurement, in their order.
const (
	partAlarms = "alarms"
	partLosses = "losses"
	partLoops  = "loops"
)

func parts() []string { return []string{partAlarms, partLosses, partLoops} }

type options struct {
	trial.Options
	timeouts []time.Duration
	repeats  int
	stretch  time.Duration // of false alarms and crash loops
	parts    []string
}

func parse(args []string, help io.Writer) (options, error) {
	var o options
	var timeouts, only string
	var err error
	o.Options, err = trial.Parse(Name, args, help, func(f *flag.FlagSet) {
		f.StringVar(&timeouts, "timeouts", "250ms,500ms,1s", "election timeouts, the agents' default among them or not")
		f.IntVar(&o.repeats, "repeats", 3, "how often each sort of loss happens to each cluster")
		f.DurationVar(&o.stretch, "stretch", time.Minute, "for how long false alarms are waited for, and leaders crash")
		f.StringVar(&only, "parts", strings.Join(parts(), ","), "only these parts")
	})
	if err != nil {
		return o, err
	}
	for text := range strings.SplitSeq(timeouts, ",") {
		d, err := time.ParseDuration(text)
		if err != nil || d < 50*time.Millisecond || d > time.Minute {
			return o, fmt.Errorf("%w: --timeouts takes durations of 50ms to 1m, such as 250ms,1s", trial.ErrUsage)
		}
		o.timeouts = append(o.timeouts, d)
	}
	for part := range strings.SplitSeq(only, ",") {
		if !slices.Contains(parts(), part) {
			return o, fmt.Errorf("%w: --parts takes %s", trial.ErrUsage, strings.Join(parts(), ","))
		}
		o.parts = append(o.parts, part)
	}
	if o.repeats < 1 || o.stretch < time.Second {
		return o, fmt.Errorf("%w: give --repeats of at least 1 and --stretch of at least 1s", trial.ErrUsage)
	}
	return o, nil
}

func (o options) has(part string) bool { return slices.Contains(o.parts, part) }

// how is what is compared: an election timeout, with or without detection.
type how struct {
	Election time.Duration
	Detects  bool
}

func (h how) String() string {
	return fmt.Sprintf("election timeout %s, detection %s", h.Election, onOff(h.Detects))
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// measurement is all that is measured.
type measurement struct {
	options
	out, progress io.Writer

	outages []outage
	alarms  []alarm
	loops   []crashes
	acked   int
	unknown int
	wrong   []string // what must not be
	skipped []string
}

// Run measures and reports. Its error is bench.ErrMissed when a goal was not reached.
func Run(ctx context.Context, args []string, out, progress io.Writer) error {
	o, err := parse(args, progress)
	if err != nil {
		return err
	}
	m := &measurement{options: o, out: out, progress: progress}
	began := time.Now()
	if err := m.all(ctx); err != nil {
		return err
	}
	goals := m.goals()
	tables := append(m.tables(), bench.GoalTable(goals))
	if err := m.Report(ctx, out, began, m.facts(), tables); err != nil {
		return err
	}
	if len(m.wrong) > 0 {
		return errors.New("a promise was not kept; the report says which")
	}
	return bench.Judge(goals)
}

func (m *measurement) all(ctx context.Context) error {
	for _, election := range m.timeouts {
		for _, detects := range []bool{true, false} {
			h := how{election, detects}
			if !m.has(partAlarms) && !m.has(partLosses) {
				continue
			}
			err := m.on(ctx, clusterConfig{how: h, nodes: 3, disks: true}, func(c *cluster) error {
				if m.has(partAlarms) {
					if err := c.falseAlarms(ctx); err != nil {
						return err
					}
				}
				if m.has(partLosses) {
					return c.losses(ctx)
				}
				return nil
			})
			if err != nil {
				return fmt.Errorf("%s: %w", h, err)
			}
		}
	}
	if !m.has(partLoops) {
		return nil
	}
	for _, same := range []bool{false, true} {
		cfg := clusterConfig{how: how{defaultElection, true}, nodes: 5, named: "-crash-loop"}
		if same {
			cfg.named = "-crash-loop-same"
		}
		if err := m.on(ctx, cfg, func(c *cluster) error { return c.crashLoop(ctx, same) }); err != nil {
			return fmt.Errorf("crash loop: %w", err)
		}
	}
	return nil
}

// on makes a cluster, lets do measure on it, and looks for lost writes.
func (m *measurement) on(ctx context.Context, cfg clusterConfig, do func(*cluster) error) (err error) {
	dir, err := m.Place(cfg.String())
	if err != nil {
		return err
	}
	wrong := len(m.wrong)
	c, err := openCluster(ctx, m, cfg)
	if err != nil {
		return err
	}
	defer func() {
		keep := err != nil || len(m.wrong) > wrong || m.Keep
		if keep {
			err = errors.Join(err, c.w.KeepLogs(dir))
			fmt.Fprintln(m.progress, "logs: "+dir)
		}
		err = errors.Join(err, c.close())
		if !keep {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := do(c); err != nil {
		return err
	}
	return c.finish(ctx)
}

func (m *measurement) say(format string, args ...any) { fmt.Fprintf(m.progress, format+"\n", args...) }

func (m *measurement) fail(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	m.say("WRONG: %s", line)
	m.wrong = append(m.wrong, line)
}

func (m *measurement) skip(what string, why error) {
	line := fmt.Sprintf("%s: %v", what, why)
	if !slices.Contains(m.skipped, line) {
		m.say("SKIPPED: %s", line)
		m.skipped = append(m.skipped, line)
	}
}
