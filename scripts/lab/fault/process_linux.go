package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// kill is SIGKILL, and a start afterwards.
type kill struct{ Env }

func (f *kill) Healthy(ctx context.Context) error { return running(ctx, f.Victim) }

func (f *kill) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossKilled)
	return f.Victim.Kill(ctx)
}

func (f *kill) Bites(ctx context.Context) error { return gone(ctx, f.Victim) }
func (f *kill) Heal(context.Context) error      { return startAll(f.Victim) }

// killAll is SIGKILL to all at once.
type killAll struct{ Env }

func (f *killAll) Healthy(ctx context.Context) error { return running(ctx, f.World.Nodes...) }

func (f *killAll) Inject(ctx context.Context) error {
	for _, n := range f.World.Nodes {
		f.Lost(n, history.LossKilled)
	}
	return atOnce(f.World.Nodes, func(n *world.Node) error { return n.Kill(ctx) })
}

func (f *killAll) Bites(ctx context.Context) error { return gone(ctx, f.World.Nodes...) }
func (f *killAll) Heal(context.Context) error      { return startAll(f.World.Nodes...) }

// startAll starts those that do not run.
func startAll(nodes ...*world.Node) error {
	var err error
	for _, n := range nodes {
		if !n.Running() {
			err = errors.Join(err, n.Start())
		}
	}
	return err
}

func atOnce(nodes []*world.Node, f func(*world.Node) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for i, n := range nodes {
		wg.Go(func() { errs[i] = f(n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pause is SIGSTOP and SIGCONT.
type pause struct{ Env }

func (f *pause) Healthy(ctx context.Context) error { return running(ctx, f.Victim) }

func (f *pause) Inject(context.Context) error {
	f.Lost(f.Victim, history.LossPaused)
	return f.Victim.Signal(syscall.SIGSTOP)
}

// Bites waits until the signal has arrived, which on a busy machine takes a moment.
func (f *pause) Bites(ctx context.Context) error {
	pid := f.Victim.PID()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		state, err := processState(pid)
		if err != nil {
			return err
		}
		if state == "T" {
			break
		}
		if time.Since(began) > probeWithin {
			return fmt.Errorf("%s is in state %s, not stopped", f.Victim.Name, state)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, min(100*time.Millisecond, f.Use.Length/2))
	defer cancel()
	if asked(ctx, f.Victim) == nil {
		return fmt.Errorf("%s answers although it is stopped", f.Victim.Name)
	}
	return nil
}

func (f *pause) Heal(context.Context) error {
	if !f.Victim.Running() {
		return nil
	}
	return f.Victim.Signal(syscall.SIGCONT)
}

// crashLoop kills whoever leads, again and again; or the victim, if there is one.
type crashLoop struct {
	Env
	loop *loop
	mu   sync.Mutex
	dead int
}

func (f *crashLoop) Healthy(ctx context.Context) error { return running(ctx, f.World.Nodes...) }

func (f *crashLoop) Inject(ctx context.Context) error {
	f.loop = begin(ctx, func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := f.once(ctx); err != nil {
				return err
			}
			if !sleep(ctx, f.between(50*time.Millisecond, 800*time.Millisecond)) {
				return nil
			}
		}
		return nil
	})
	return nil
}

func (f *crashLoop) once(ctx context.Context) error {
	leader := f.Victim
	if leader == nil {
		var err error
		if leader, err = f.World.Leader(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	f.Lost(leader, history.LossRestarted)
	// A kill that has begun is brought to its end: nothing else starts the agent again.
	if err := leader.Kill(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	f.mu.Lock()
	f.dead++
	f.mu.Unlock()
	return leader.Start()
}

func (f *crashLoop) Bites(ctx context.Context) error {
	return world.Until(ctx, 5*time.Second, "a leader is killed", func(context.Context) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.dead == 0 {
			return errors.New("none was")
		}
		return nil
	})
}

func (f *crashLoop) Heal(context.Context) error {
	return errors.Join(f.loop.end(), startAll(f.World.Nodes...))
}

// rollingRestart stops each in order and starts it again, the next when all are there.
type rollingRestart struct{ Env }

func (f *rollingRestart) Healthy(ctx context.Context) error { return running(ctx, f.World.Nodes...) }

func (f *rollingRestart) Inject(ctx context.Context) error {
	for _, n := range f.World.Nodes {
		f.Lost(n, history.LossRestarted)
		if err := n.Stop(ctx); err != nil {
			return err
		}
		if err := gone(ctx, n); err != nil {
			return err
		}
		if err := n.Start(); err != nil {
			return err
		}
		if err := f.World.Whole(ctx, time.Minute); err != nil {
			return err
		}
		f.Back(n)
	}
	return nil
}

// Bites has nothing to add: each was seen stopped.
func (f *rollingRestart) Bites(ctx context.Context) error { return running(ctx, f.World.Nodes...) }
func (f *rollingRestart) Heal(context.Context) error      { return startAll(f.World.Nodes...) }
