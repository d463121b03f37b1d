package detection

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/world"
)

const (
	quotaPercent = 50 // of one core, for each agent
	slowSync     = 100 * time.Millisecond
	alarmWriters = 96              // more than elsewhere, so that a quota is used up
	slowTry      = 3 * time.Second // for a write to slow disks
)

// What is wrong while false alarms are waited for.
const (
	underQuota = "quota"
	slowDisks  = "slow disks"
)

// alarm is what a stretch of time under writers has seen in which nothing was lost.
type alarm struct {
	how
	what      string
	lasted    time.Duration
	elections int    // in which somebody won
	terms     uint64 // with those in which nobody did
	acked     int
	gap       time.Duration // the longest without an acknowledged write
	bites     string        // how it is known that something was wrong
}

// falseAlarms counts elections while nothing is lost and everything is slow.
func (c *cluster) falseAlarms(ctx context.Context) error {
	for _, s := range []struct {
		what  string
		begin func(context.Context) (end func() (string, error), err error)
	}{{underQuota, c.quotas}, {slowDisks, c.slow}} {
		if err := c.w.Whole(ctx, wholeWithin); err != nil {
			return err
		}
		c.work(alarmWriters, slowTry)
		end, err := s.begin(ctx)
		if errors.Is(err, fault.ErrSkipped) || errors.Is(err, world.ErrNoQuota) {
			c.m.skip("false alarms, "+s.what, err)
			c.work(writers, bench.TryTimeout)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		a, err := c.watch(ctx)
		bites, ended := end()
		c.work(writers, bench.TryTimeout)
		if err := errors.Join(err, ended); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
		a.how, a.what, a.bites = c.cfg.how, s.what, bites
		c.m.alarms = append(c.m.alarms, a)
		c.m.say("  %s for %s: %d elections, %d terms, %d writes, none for %s; %s", a.what, c.m.stretch, a.elections, a.terms, a.acked, a.gap, a.bites)
	}
	return nil
}

// watch lets the stretch go by.
func (c *cluster) watch(ctx context.Context) (alarm, error) {
	before, err := c.term(ctx)
	if err != nil {
		return alarm{}, err
	}
	began := time.Now()
	if err := bench.Sleep(ctx, c.m.stretch); err != nil {
		return alarm{}, err
	}
	span := c.load.Since(began)
	e, err := c.elections(began)
	if err != nil {
		return alarm{}, err
	}
	after, err := c.term(ctx)
	return alarm{lasted: time.Since(began), elections: e.All, terms: after - before, acked: len(span.Acks), gap: span.Gap()}, err
}

// work changes the writers; all nodes are written to.
func (c *cluster) work(writers int, patience time.Duration) {
	c.load.Stop()
	c.load.Avoid(-1)
	c.load.Patience(patience)
	c.load.Start(writers)
}

// term is the highest that a node knows.
func (c *cluster) term(ctx context.Context) (highest uint64, err error) {
	err = world.Until(ctx, 30*time.Second, "all nodes say their term", func(ctx context.Context) error {
		for _, n := range c.w.Nodes {
			t, err := n.Term(ctx)
			if err != nil {
				return err
			}
			highest = max(highest, t)
		}
		return nil
	})
	return highest, err
}

// quotas leaves each agent half a core.
func (c *cluster) quotas(context.Context) (func() (string, error), error) {
	before, err := c.throttled(quotaPercent)
	return func() (string, error) {
		after, err := c.throttled(0)
		var times []string
		for i := range before {
			times = append(times, fmt.Sprint(after[i]-before[i]))
		}
		return "had to wait for it, each agent: " + strings.Join(times, ", ") + " times", err
	}, err
}

// throttled sets all quotas, and says how often each had to wait until then.
func (c *cluster) throttled(percent int) ([]int, error) {
	out := make([]int, len(c.w.Nodes))
	for i, n := range c.w.Nodes {
		if err := n.Quota(percent); err != nil {
			return out, err
		}
		var err error
		if out[i], err = n.Throttled(); err != nil {
			return out, err
		}
	}
	return out, nil
}

// slow makes the syncs of all agents wait.
func (c *cluster) slow(ctx context.Context) (func() (string, error), error) {
	var faults []fault.Fault
	end := func() (string, error) {
		var errs error
		for _, f := range faults {
			errs = errors.Join(errs, heal(ctx, f))
		}
		return fmt.Sprintf("syncs of each agent were seen to wait %s longer", slowSync), errs
	}
	for _, n := range c.w.Nodes {
		f := fault.Slow(c.env("slow-disk", n), slowSync)
		faults = append(faults, f)
		err := f.Healthy(ctx)
		if err == nil {
			err = f.Inject(ctx)
		}
		if err == nil {
			err = f.Bites(ctx)
		}
		if err != nil {
			_, ended := end()
			return nil, errors.Join(err, ended)
		}
	}
	return end, nil
}
