package detection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// lossKind is a way of losing a leader.
type lossKind struct {
	name string // for people
	open func(fault.Env) (fault.Fault, error)
	// slow: bringing it about takes a moment, and only after that is the leader lost.
	slow bool
	// ends: the process ends, so that the detection of crashes is damped afterwards.
	ends bool
}

func lossKinds() []lossKind {
	named := func(name string) func(fault.Env) (fault.Fault, error) {
		return func(e fault.Env) (fault.Fault, error) {
			e.Use.Fault = name
			return fault.Open(e)
		}
	}
	return []lossKind{
		{name: "killed", open: named("kill"), ends: true},
		{name: "hung (SIGSTOP)", open: named("pause")},
		{name: "black-holed", open: func(e fault.Env) (fault.Fault, error) { return fault.Silence(e), nil }, slow: true},
		{name: "hung disk", open: named("hanging-disk"), slow: true, ends: true},
	}
}

// outage is what became of writes when leaders were lost in one way.
type outage struct {
	how
	what  string
	took  []time.Duration
	never int // times in which none was acknowledged within patience
}

// patience is how long a cluster has to take writes again.
const patience = 30 * time.Second

// losses loses the leader in each way, several times.
func (c *cluster) losses(ctx context.Context) error {
	for _, k := range lossKinds() {
		o := outage{how: c.cfg.how, what: k.name}
		for i := range c.m.repeats {
			took, err := c.lose(ctx, k)
			switch {
			case errors.Is(err, errNever):
				o.never++
			case err != nil:
				return fmt.Errorf("%s, time %d: %w", k.name, i+1, err)
			default:
				o.took = append(o.took, took)
			}
			c.m.say("  leader %s, %d of %d: %s", k.name, i+1, c.m.repeats, o.last(err))
		}
		c.m.outages = append(c.m.outages, o)
	}
	return nil
}

func (o outage) last(err error) string {
	if err != nil {
		return err.Error()
	}
	return milliseconds(o.took[len(o.took)-1]) + " ms"
}

// errNever is no error of the laboratory: it is what was measured.
var errNever = fmt.Errorf("no write was acknowledged within %s", patience)

// lose takes the leader away while all write through the others, and measures. It returns
// when the cluster is whole again.
func (c *cluster) lose(ctx context.Context, k lossKind) (took time.Duration, err error) {
	if k.ends && c.cfg.Detects {
		if err := bench.Sleep(ctx, time.Until(c.began.Add(damping+time.Second))); err != nil {
			return 0, err
		}
	}
	victim, err := c.ready(ctx)
	if err != nil {
		return 0, err
	}
	f, err := k.open(c.env("", victim))
	if err != nil {
		return 0, err
	}
	if err := f.Healthy(ctx); err != nil {
		return 0, err
	}
	defer func() {
		if e := c.mend(ctx, f); e != nil {
			err = fmt.Errorf("afterwards: %w", e) // it is worse than that no write was acknowledged
		}
	}()
	at := time.Now()
	if k.ends {
		c.began = at
	}
	if err := f.Inject(ctx); err != nil {
		return 0, err
	}
	if k.slow {
		at = time.Now()
	}
	if err := f.Bites(ctx); err != nil {
		return 0, fmt.Errorf("it does not bite: %w", err)
	}
	span, err := c.load.Recovered(ctx, at, patience)
	if err != nil {
		if ctx.Err() == nil {
			err = errNever
		}
		return 0, err
	}
	if _, err := c.w.Leader(ctx, victim); err != nil {
		return 0, fmt.Errorf("nobody took over from %s: %w", victim.Name, err)
	}
	return span.Outage(), nil
}

// ready waits until all is well, and lets the writers go around the leader.
func (c *cluster) ready(ctx context.Context) (*world.Node, error) {
	if err := c.w.Whole(ctx, wholeWithin); err != nil {
		return nil, err
	}
	leader, err := c.w.Leader(ctx)
	if err != nil {
		return nil, err
	}
	c.load.Avoid(slices.Index(c.w.Nodes, leader))
	c.load.Pause(false)
	if err := bench.Sleep(ctx, settle); err != nil {
		return nil, err
	}
	if now, err := c.w.Leader(ctx); err != nil || now != leader {
		return nil, fmt.Errorf("the leadership left %s by itself (%w)", leader.Name, err)
	}
	return leader, nil
}

// mend takes the fault away, while nobody writes: who was away catches up.
func (c *cluster) mend(ctx context.Context, f fault.Fault) error {
	c.load.Pause(true)
	if err := heal(ctx, f); err != nil {
		return err
	}
	return c.w.Whole(ctx, wholeWithin)
}
