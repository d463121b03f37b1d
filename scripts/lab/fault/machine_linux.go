package fault

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// quota leaves the agent a twentieth to a fifth of one core.
type quota struct{ Env }

func (f *quota) Healthy(ctx context.Context) error { return running(ctx, f.Victim) }

func (f *quota) Inject(context.Context) error {
	f.Lost(f.Victim, history.LossStarved)
	return f.Victim.Quota(5 + f.Rand.IntN(16))
}

// Bites asks for more than there is.
func (f *quota) Bites(ctx context.Context) error {
	before, err := f.Victim.Throttled()
	if err != nil {
		return err
	}
	return world.Until(ctx, 10*time.Second, "the quota is used up", func(ctx context.Context) error {
		for range 50 {
			_, _ = f.Victim.Client.Nodes(ctx, admin.Stale()) // it is the work that counts
		}
		now, err := f.Victim.Throttled()
		if err == nil && now == before {
			err = fmt.Errorf("%s has never waited for it", f.Victim.Name)
		}
		return err
	})
}

func (f *quota) Heal(context.Context) error { return f.Victim.Quota(0) }

// clock sets the agent's wall clock.
type clock struct{ Env }

// steps by which clocks are wrong in practice: an NTP step, a minute, a zone, a day.
func steps() []time.Duration {
	return []time.Duration{3 * time.Second, 45 * time.Second, 10 * time.Minute, 2 * time.Hour, 26 * time.Hour}
}

func (f *clock) Healthy(ctx context.Context) error {
	off, err := f.clockOff(ctx)
	if err == nil && off.Abs() > 2*time.Second {
		err = fmt.Errorf("the clock of %s is off by %s", f.Victim.Name, off)
	}
	return err
}

// clockOff is how far the agent's clock is ahead, by when it says that it has examined
// itself. That takes seconds while others are away.
func (f *clock) clockOff(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	d, err := f.Victim.Client.Doctor(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask %s what time it is: %w", f.Victim.Name, err)
	}
	return time.Until(d.At), nil
}

func (f *clock) Inject(context.Context) error {
	f.Lost(f.Victim, history.LossUnknown)
	all := steps()
	ahead := all[f.Rand.IntN(len(all))]
	if f.Rand.IntN(2) == 0 {
		ahead = -ahead
	}
	return f.Victim.SetClock(ahead)
}

func (f *clock) Bites(ctx context.Context) error {
	return world.Until(ctx, 10*time.Second, "the node shows another time", func(ctx context.Context) error {
		off, err := f.clockOff(ctx)
		if err == nil && off.Abs() < 2*time.Second {
			err = fmt.Errorf("the clock of %s is off by %s", f.Victim.Name, off)
		}
		return err
	})
}

func (f *clock) Heal(context.Context) error { return f.Victim.SetClock(0) }

// drain drains a node and activates it again.
type drain struct{ Env }

func (f *drain) Healthy(ctx context.Context) error { return f.state(ctx, "active") }

func (f *drain) state(ctx context.Context, want string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	n, err := f.Victim.Client.Node(ctx, f.Victim.Name, admin.Stale())
	if err == nil && string(n.State) != want {
		err = fmt.Errorf("%s is %s, not %s", f.Victim.Name, n.State, want)
	}
	return err
}

func (f *drain) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossDrained)
	return world.Until(ctx, 20*time.Second, "the node drains", func(ctx context.Context) error {
		_, err := f.someOther().Client.Drain(ctx, f.Victim.Name, admin.StateChange{Deadline: admin.Duration(f.Use.Length / 2), Reason: "laboratory"})
		return err
	})
}

func (f *drain) Bites(ctx context.Context) error {
	return world.Until(ctx, 5*time.Second, "the node knows that it drains", func(ctx context.Context) error { return f.state(ctx, "draining") })
}

func (f *drain) Heal(ctx context.Context) error {
	return world.Until(ctx, 30*time.Second, "the node is active", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_, err := f.someOther().Client.Activate(ctx, f.Victim.Name, admin.StateChange{Reason: "laboratory"})
		return err
	})
}
