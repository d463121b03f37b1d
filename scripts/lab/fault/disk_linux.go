package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// diskWell is what a small sync takes at most on a disk that is well, on a busy machine.
const diskWell = time.Second

func diskHealthy(n *world.Node) error {
	took, err := syncTime(n)
	if err == nil && took > diskWell {
		err = fmt.Errorf("a sync on the disk of %s takes %s", n.Name, took)
	}
	return err
}

// slowDisk lets each of the agent's syncs wait.
type slowDisk struct {
	Env
	wait   time.Duration // 0: it is drawn
	tracer *tracer
}

// Slow is the fault slow-disk with a wait that is not drawn.
func Slow(e Env, wait time.Duration) Fault { return &slowDisk{Env: e, wait: wait} }

func (f *slowDisk) Healthy(ctx context.Context) error {
	if err := canTrace(); err != nil {
		return err
	}
	return running(ctx, f.Victim)
}

func (f *slowDisk) Inject(context.Context) (err error) {
	f.Lost(f.Victim, history.LossUnknown)
	if f.wait == 0 {
		f.wait = f.between(30*time.Millisecond, 300*time.Millisecond)
	}
	f.tracer, err = openTracer(f.Env, fmt.Sprintf("delay_enter=%d", f.wait.Microseconds()))
	return err
}

func (f *slowDisk) Bites(ctx context.Context) error {
	return world.Until(ctx, 10*time.Second, "syncs wait", func(context.Context) error {
		if n, err := f.tracer.hits("(DELAYED)"); err != nil || n < 3 {
			return errors.Join(err, fmt.Errorf("%d have waited", n))
		}
		return nil
	})
}

func (f *slowDisk) Heal(context.Context) error {
	f.tracer.close()
	return nil
}

// hangingDisk lets the disk stand still. An agent may end itself over that.
type hangingDisk struct {
	Env
	frozen bool
	since  time.Time
	deaths int // so far, and how often it has given up
	stops  int
	probe  chan error
	pardon func()
}

func (f *hangingDisk) Healthy(context.Context) error { return diskHealthy(f.Victim) }

func (f *hangingDisk) Inject(context.Context) error {
	kind := history.LossUnknown
	if f.Use.Length >= givesUpAfter {
		kind = history.LossRestarted // its door goes on until then, and what is under way then ends with it
	}
	f.Lost(f.Victim, kind)
	before, err := f.Victim.Lines(world.Stops)
	if err != nil {
		return err
	}
	f.pardon, f.deaths, f.stops = f.Victim.Excuse(), len(f.Victim.Deaths()), len(before)
	f.frozen, f.since = true, time.Now()
	return f.Victim.Freeze()
}

func (f *hangingDisk) Bites(context.Context) error {
	f.probe = make(chan error, 1)
	go func() {
		_, err := syncTime(f.Victim)
		f.probe <- err
	}()
	select {
	case err := <-f.probe:
		f.probe = nil
		return fmt.Errorf("the disk of %s does not hang (%w)", f.Victim.Name, err)
	case <-time.After(500 * time.Millisecond):
		return nil
	}
}

// Heal waits for an agent that has given up. It could not go before the disk went on.
func (f *hangingDisk) Heal(ctx context.Context) error {
	if !f.frozen {
		return nil
	}
	f.frozen = false
	hung := time.Since(f.since)
	err := f.Victim.Thaw()
	if f.probe != nil {
		err = errors.Join(err, <-f.probe)
	}
	time.AfterFunc(endsWithin, f.pardon)
	if hung < givesUpAfter {
		return err
	}
	return errors.Join(err, f.ended(ctx))
}

// Times of an agent whose disk hangs.
const (
	givesUpAfter = 9 * time.Second // it does after 10 s, which are counted in steps
	saysWithin   = time.Second     // that it has given up, once the disk goes on
	endsWithin   = 8 * time.Second // it stops in order, for which it has five seconds
)

// ended waits until the agent has ended, if it has given up.
func (f *hangingDisk) ended(ctx context.Context) error {
	select {
	case <-time.After(saysWithin):
	case <-ctx.Done():
		return ctx.Err()
	}
	if lines, err := f.Victim.Lines(world.Stops); err != nil || len(lines) == f.stops {
		return err
	}
	return world.Until(ctx, endsWithin, f.Victim.Name+" has ended over its disk", func(context.Context) error {
		if len(f.Victim.Deaths()) == f.deaths {
			return errors.New("it goes on")
		}
		return nil
	})
}

// unsyncedLead is how many lines are written before the power goes, so that their writer is
// sure to run when it does.
const unsyncedLead = 20

// powerCut loses what was not synced, of one node or of all at once.
type powerCut struct {
	Env
	nodes   []*world.Node
	pardons []func()
	mu      sync.Mutex
	written map[*world.Node]int64 // bytes that were never synced
}

func (f *powerCut) Healthy(ctx context.Context) error { return running(ctx, f.nodes...) }

func (f *powerCut) Inject(ctx context.Context) error {
	f.written = map[*world.Node]int64{}
	for _, n := range f.nodes {
		f.Lost(n, history.LossKilled)
		f.pardons = append(f.pardons, n.Excuse()) // it may see the disk fail before it is killed
	}
	return atOnce(f.nodes, func(n *world.Node) error {
		file, err := os.OpenFile(f.unsynced(n), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("write what is to be lost: %w", err)
		}
		// A sync of the agent's takes along what was written so far: so it is written until
		// the disk refuses.
		line := []byte("this was never synced\n")
		if _, err := file.Write(line); err != nil {
			return errors.Join(fmt.Errorf("write what is to be lost: %w", err), file.Close())
		}
		writing, stop := context.WithCancel(ctx)
		defer stop()
		underWay, ended := make(chan struct{}), make(chan int64, 1)
		go func() {
			size := int64(len(line))
			for i := 1; writing.Err() == nil; i++ {
				k, err := file.Write(line)
				if size += int64(k); err != nil {
					break
				}
				if i == unsyncedLead {
					close(underWay)
				}
				time.Sleep(100 * time.Microsecond)
			}
			_ = file.Close() // the disk is gone
			ended <- size
		}()
		select {
		case <-underWay:
		case size := <-ended:
			return fmt.Errorf("write what is to be lost: the disk refuses it after %d bytes", size)
		}
		err = n.CutPower(ctx)
		stop()
		size := <-ended
		f.mu.Lock()
		f.written[n] = size
		f.mu.Unlock()
		return err
	})
}

func (f *powerCut) unsynced(n *world.Node) string { return filepath.Join(n.Top(), "unsynced") }

// Bites looks for the end of what was written and not synced.
func (f *powerCut) Bites(ctx context.Context) error {
	for _, n := range f.nodes {
		info, err := os.Stat(f.unsynced(n))
		if err == nil && info.Size() >= f.written[n] {
			return fmt.Errorf("%s has all %d bytes that it had not synced", n.Name, info.Size())
		}
	}
	return gone(ctx, f.nodes...)
}

func (f *powerCut) Heal(context.Context) error {
	for _, pardon := range f.pardons {
		pardon()
	}
	return startAll(f.nodes...)
}

// fullDisk leaves no room on the disk.
type fullDisk struct {
	Env
	pardon func()
}

func (f *fullDisk) filler() string { return filepath.Join(f.Victim.Top(), "filler") }

func (f *fullDisk) Healthy(context.Context) error { return diskHealthy(f.Victim) }

func (f *fullDisk) Inject(context.Context) error {
	f.Lost(f.Victim, history.LossUnknown)
	f.pardon = f.Victim.Excuse()
	return world.Fill(f.filler())
}

func (f *fullDisk) Bites(context.Context) error {
	name := filepath.Join(f.Victim.Top(), "more")
	err := os.WriteFile(name, make([]byte, 1<<20), 0o600)
	if removed := os.Remove(name); removed != nil && !errors.Is(removed, os.ErrNotExist) {
		return removed
	}
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("there is room on the disk of %s (%w)", f.Victim.Name, err)
	}
	return nil
}

func (f *fullDisk) Heal(context.Context) error {
	if f.pardon != nil {
		time.AfterFunc(3*time.Second, f.pardon)
		f.pardon = nil
	}
	if err := os.Remove(f.filler()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// failingFsync answers the agent's syncs with EIO. The agent has to end over that, because
// nothing is known of what is on the disk then.
type failingFsync struct {
	Env
	tracer *tracer
	pardon func()
	deaths int
}

func (f *failingFsync) Healthy(ctx context.Context) error {
	if err := canTrace(); err != nil {
		return err
	}
	return running(ctx, f.Victim)
}

func (f *failingFsync) Inject(context.Context) (err error) {
	f.Lost(f.Victim, history.LossRestarted)
	f.pardon = f.Victim.Excuse()
	f.deaths = len(f.Victim.Deaths())
	f.tracer, err = openTracer(f.Env, "error=EIO")
	return err
}

// Bites waits for a sync that failed and for the agent's end.
func (f *failingFsync) Bites(ctx context.Context) error {
	return world.Until(ctx, 15*time.Second, "the agent ends over a sync that failed", func(context.Context) error {
		n, err := f.tracer.hits("(INJECTED)")
		switch {
		case err != nil:
			return err
		case n == 0:
			return errors.New("no sync has failed")
		case len(f.Victim.Deaths()) == f.deaths:
			return errors.New("a sync has failed, and the agent goes on")
		}
		return nil
	})
}

func (f *failingFsync) Heal(context.Context) error {
	f.tracer.close()
	if f.pardon != nil {
		f.pardon()
	}
	return nil
}
