package scheduler

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/fsm"
)

// cachedPoll is how often a worker looks whether the live state is there.
const cachedPoll = time.Second

// worker runs what is claimed for this node.
//
// Attempts are told apart by their fences. What this process did about a fence is
// remembered until the view shows that the attempt is over, because the view may
// lag behind: a started attempt that this process knows nothing of was left behind
// by a former one.
type worker struct {
	*Scheduler
	jobs  map[uint64]*job // by fence
	done  chan struct{}   // coalescing: a job ended
	going sync.WaitGroup
	late  context.Context // outlives the run by Config.StopTimeout
}

func newWorker(s *Scheduler) *worker {
	return &worker{Scheduler: s, jobs: map[uint64]*job{}, done: make(chan struct{}, 1)}
}

func (w *worker) run(ctx context.Context) error {
	late, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	w.late = late
	for ctx.Err() == nil {
		view := w.cfg.Store.View()
		var poll <-chan time.Time
		if view.Cached() {
			poll = time.After(cachedPoll)
		} else {
			w.look(ctx, view)
		}
		select {
		case <-view.Newer():
		case <-w.done:
		case <-poll:
		case <-ctx.Done():
		}
	}
	return w.stop(end)
}

// stop waits for the jobs, whose contexts have ended. When the time is over it
// ends their last tries to record something, too.
func (w *worker) stop(end context.CancelFunc) error {
	all := make(chan struct{})
	go func() {
		w.going.Wait()
		close(all)
	}()
	timer := time.NewTimer(w.cfg.StopTimeout)
	defer timer.Stop()
	select {
	case <-all:
		return nil
	case <-timer.C:
	}
	end()
	timer.Reset(time.Second)
	select {
	case <-all:
		return nil
	case <-timer.C:
		return fmt.Errorf("stop scheduler: %w within %s", ErrStuck, w.cfg.StopTimeout)
	}
}

// look compares what the state gives to this node with what is done about it.
func (w *worker) look(ctx context.Context, view fsm.View) {
	var mine []*fsm.Occurrence
	for _, o := range view.OpenOccurrences() {
		if o.Node == w.cfg.Self && o.State != fsm.OccurrencePending {
			mine = append(mine, o)
		}
	}
	slices.SortFunc(mine, func(a, b *fsm.Occurrence) int { return cmp.Compare(a.Fence, b.Fence) })
	free := int(view.Int("scheduler.parallel")) - w.sweep(mine)
	for _, o := range mine {
		if w.jobs[o.Fence] != nil {
			continue
		}
		task := view.Task(o.Task)
		switch {
		case o.State == fsm.OccurrenceStarted:
			w.begin(w.job(o, task), func(j *job) verdict { return j.abandon() })
		case task != nil && free > 0:
			free--
			w.begin(w.job(o, task), func(j *job) verdict { return j.work(ctx) })
		}
	}
}

// sweep forgets jobs that ended and that the view shows as over. It returns how
// many are under way.
func (w *worker) sweep(mine []*fsm.Occurrence) int {
	held := make(map[uint64]fsm.OccurrenceState, len(mine))
	for _, o := range mine {
		held[o.Fence] = o.State
	}
	running := 0
	for fence, j := range w.jobs {
		if j.was == underWay {
			select {
			case j.was = <-j.ended:
			default:
				running++
				continue
			}
		}
		state, open := held[fence]
		// A refused start of an attempt that turns out to be started: a former
		// process started it.
		if !open || j.was == unheld && state == fsm.OccurrenceStarted {
			delete(w.jobs, fence)
		}
	}
	return running
}

func (w *worker) job(o *fsm.Occurrence, t *fsm.Task) *job {
	j := &job{Scheduler: w.Scheduler, late: w.late, id: idOf(o), ended: make(chan verdict, 1), Job: Job{
		Task: o.Task, Due: o.Due.Time(), Attempt: o.Attempt, Fence: o.Fence, Engine: o.Engine,
	}}
	if t != nil {
		j.Document, j.Timeout = t.Document, t.Timeout
	}
	j.log = w.log.With().Str(logs.Task, j.Task).Time(logs.Due, j.Due).Int(logs.Attempt, j.Attempt).Str(logs.Engine, j.Engine).Logger()
	return j
}

// begin gives a job its goroutine.
func (w *worker) begin(j *job, work func(*job) verdict) {
	w.jobs[j.Fence] = j
	w.going.Go(func() {
		j.ended <- work(j)
		select {
		case w.done <- struct{}{}:
		default:
		}
	})
}
