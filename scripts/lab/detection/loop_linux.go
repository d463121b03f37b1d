package detection

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// crashes is what leaders that crash again and again have brought about.
type crashes struct {
	what     string
	nodes    int
	kills    int
	all      int // elections that somebody won
	detected int // by detection
	most     int // of those, within 10 s
	acked    int
	gap      time.Duration // the longest without an acknowledged write
}

// crashLoop kills whoever leads, or always the one that led first, and starts it again at
// once.
func (c *cluster) crashLoop(ctx context.Context, same bool) error {
	leader, err := c.ready(ctx)
	if err != nil {
		return err
	}
	r := crashes{what: "whoever leads", nodes: c.cfg.nodes}
	var victim *world.Node
	if same {
		r.what, victim = "always the same one", leader
	} else {
		c.load.Avoid(-1)
	}
	e := c.env("crash-loop", victim)
	e.Lost = func(*world.Node, history.LossKind) { r.kills++ } // by one goroutine, that Heal waits for
	f, err := fault.Open(e)
	if err != nil {
		return err
	}
	began := time.Now()
	err = c.during(ctx, f)
	if err != nil {
		return err
	}
	span := c.load.Since(began)
	c.load.Pause(true)
	if err := c.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	found, err := c.elections(began)
	if err != nil {
		return err
	}
	r.all, r.detected, r.most = found.All, len(found.Detected), mostWithin(found.Detected, damping)
	r.acked, r.gap = len(span.Acks), span.Gap()
	c.m.loops = append(c.m.loops, r)
	c.m.say("  %s: %d kills, %d elections, %d by detection, at most %d within %s, no write for %s", r.what, r.kills, r.all, r.detected, r.most, damping, r.gap)
	return nil
}

// during lets a fault last for the stretch.
func (c *cluster) during(ctx context.Context, f fault.Fault) error {
	err := f.Healthy(ctx)
	if err == nil {
		err = f.Inject(ctx)
	}
	if err == nil {
		err = f.Bites(ctx)
	}
	if err == nil {
		err = bench.Sleep(ctx, c.m.stretch)
	}
	if e := heal(ctx, f); err == nil && e != nil {
		err = fmt.Errorf("heal: %w", e)
	}
	return err
}
