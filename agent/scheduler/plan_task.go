package scheduler

import (
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/fsm"
)

// round is what one round decides for one task.
type round struct {
	*planner
	task   *fsm.Task
	limit  int // commands at most
	cmds   []fsm.Command
	active *fsm.Occurrence // claimed or started; the state allows one at a time
	before *fsm.Occurrence // the scheduled occurrence that is still open
}

// decide settles what waits for an attempt, then the due times that have come.
// A claim ends the round for the task: what follows depends on whether it holds.
func (r *round) decide() {
	var waiting []*fsm.Occurrence
	for _, o := range r.open[r.task.Name] {
		if o.State == fsm.OccurrencePending {
			waiting = append(waiting, o)
		} else {
			r.active = o
		}
	}
	for _, o := range waiting {
		if r.attempt(o) {
			return
		}
	}
	if r.active != nil && !r.active.Manual {
		r.before = r.active
	}
	if !r.task.Paused {
		r.schedule()
	}
}

// attempt settles an occurrence that was asked for by hand or waits for another
// attempt. Behind a run of the same task it waits as long as that takes; without a
// node that could run it, for the catch-up time. It reports whether it claimed.
func (r *round) attempt(o *fsm.Occurrence) bool {
	ready := time.Unix(0, int64(max(o.Due, o.Retry))).UTC()
	switch {
	case r.active != nil:
	case r.Now.Before(ready):
		r.look(ready)
	default:
		place, err := r.place(r.task, o)
		if err == nil {
			r.claim(o.Due, o.Attempt+1, place)
			return true
		}
		if r.wait(ready) {
			break
		}
		if r.full() {
			return true
		}
		r.skip(o.Due, fsm.OccurrenceMissed, fmt.Sprintf("attempt %d: %s for %s", o.Attempt+1, err, r.task.CatchUp))
		return false
	}
	if !o.Manual {
		r.before = o
	}
	return false
}

// schedule goes through the due times after the cursor. Every one of them gets its
// record: run, or skipped with the reason.
func (r *round) schedule() {
	due, err := r.Due(r.task, r.task.Cursor.Time())
	for {
		if err != nil {
			if !never(err) {
				r.out.Broken = append(r.out.Broken, broken{r.task, err})
			}
			return
		}
		if r.Now.Before(due) {
			r.look(due)
			return
		}
		following, ferr := r.Due(r.task, due)
		if !r.Recorded(fsm.OccurrenceID{Task: r.task.Name, Due: fsm.StampOf(due)}) {
			if r.full() || !r.settle(due, following) {
				return
			}
		}
		due, err = following, ferr
	}
}

// settle gives one due time its record. It reports whether to go on to the one
// that follows (zero: there is none).
func (r *round) settle(due, following time.Time) bool {
	stamp := fsm.StampOf(due)
	latest := following.IsZero() || r.Now.Before(following)
	late := !r.Now.Before(due.Add(r.task.CatchUp))
	if o := r.before; o != nil && o.Due < stamp {
		r.skip(stamp, fsm.OccurrenceSkipped, fmt.Sprintf("overlap: the occurrence due %s was still %s", clock(o.Due.Time()), o.State))
		return true
	}
	place, err := r.place(r.task, nil)
	if r.active != nil {
		err = fmt.Errorf("the run asked for at %s is still %s", clock(r.active.Due.Time()), r.active.State)
	}
	switch {
	case late && err != nil:
		r.skip(stamp, fsm.OccurrenceMissed, fmt.Sprintf("%s for %s", err, r.task.CatchUp))
	case late:
		r.skip(stamp, fsm.OccurrenceMissed, fmt.Sprintf("late: it could be run only %s after its time, the task catches up to %s", r.Now.Sub(due).Round(time.Second), r.task.CatchUp))
	case !latest && err != nil:
		r.skip(stamp, fsm.OccurrenceMissed, fmt.Sprintf("run-latest: %s until %s was due", err, clock(following)))
	case !latest:
		r.skip(stamp, fsm.OccurrenceMissed, fmt.Sprintf("run-latest: %s was due as well when it could be run", clock(following)))
	case err == nil:
		r.claim(stamp, 1, place)
		return false
	default:
		r.wait(due)
		if !following.IsZero() {
			r.look(following)
		}
		return false
	}
	return true
}

// wait reports whether what is due since t may wait for a node, and looks again
// when it may no longer.
func (r *round) wait(t time.Time) bool {
	end := t.Add(r.task.CatchUp)
	if r.Now.Before(end) {
		r.look(end)
		return true
	}
	return false
}

// full reports whether the round has no room for another command. What is left is
// decided when these have been proposed.
func (r *round) full() bool { return len(r.cmds) >= r.limit }

func (r *round) claim(due fsm.Stamp, attempt int, at placement.Place) {
	if r.full() {
		return
	}
	r.running[at.Node]++
	r.cmds = append(r.cmds, &fsm.ClaimOccurrence{
		OccurrenceID: fsm.OccurrenceID{Task: r.task.Name, Due: due}, Attempt: attempt, Node: at.Node, Engine: at.Engine,
	})
}

func (r *round) skip(due fsm.Stamp, as fsm.OccurrenceState, why string) {
	r.cmds = append(r.cmds, &fsm.SkipOccurrence{
		OccurrenceID: fsm.OccurrenceID{Task: r.task.Name, Due: due}, State: as, Reason: why,
	})
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
