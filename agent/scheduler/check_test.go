package scheduler

import (
	"slices"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// check asserts what holds whatever happened: an attempt is launched at most once,
// and only if its start was committed; attempts of an occurrence, and runs of a
// task, never overlap; fences grow; all states are equal.
func (c *cluster) check() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	started := map[uint64]int{}
	for _, cmd := range c.seen {
		if s, ok := cmd.(*fsm.StartOccurrence); ok {
			started[s.Fence]++
		}
	}
	launched := map[uint64]int{}
	last := map[string]*launch{}
	for _, l := range c.runs {
		if launched[l.Fence]++; launched[l.Fence] > 1 {
			c.t.Errorf("fence %d was launched %d times", l.Fence, launched[l.Fence])
		}
		if started[l.Fence] == 0 {
			c.t.Errorf("fence %d was launched without a committed start", l.Fence)
		}
		if before := last[l.Task]; before != nil {
			if before.end.IsZero() || before.end.After(l.begin) {
				c.t.Errorf("task %s: attempt %d due %s began %s while fence %d ran", l.Task, l.Attempt, l.Due, l.begin, before.Fence)
			}
			if before.Fence >= l.Fence {
				c.t.Errorf("task %s: fence %d after %d", l.Task, l.Fence, before.Fence)
			}
		}
		last[l.Task] = l
	}
	for _, m := range c.nodes {
		if !m.cut && m.f.View().Hash() != c.truth.View().Hash() {
			c.t.Errorf("node %s differs from the rest", m.id)
		}
	}
}

// checkRecords asserts that each due time from the first to the last has a record (it
// cannot have two), that all are terminal, that there are none beside the schedule,
// and that launches are what the records say.
func (c *cluster) checkRecords(task string, first, last time.Time) {
	c.t.Helper()
	row := c.truth.View().Task(task)
	records := map[fsm.Stamp]*fsm.Occurrence{}
	attempts := 0
	for _, o := range c.occurrences(task) {
		if !o.State.Terminal() {
			c.t.Errorf("due %s is %s at the end", o.Due.Time(), o.State)
		}
		records[o.Due] = o
		for _, a := range append(slices.Clone(o.History), fsm.Attempt{Started: o.Started, Error: o.Error}) {
			if a.Started != 0 && a.Error != tooLate {
				attempts++
			}
		}
	}
	for due := first; !due.After(last); due = due.Add(row.Every) {
		if records[fsm.StampOf(due)] == nil {
			c.t.Errorf("due %s has no record", due)
		}
		delete(records, fsm.StampOf(due))
	}
	for _, o := range records {
		if !o.Manual && o.Due.Time().Sub(first)%row.Every != 0 {
			c.t.Errorf("due %s is a time that the task never had", o.Due.Time())
		}
	}
	if n := len(c.launches(task)); n != attempts {
		c.t.Errorf("%d launches, the records tell of %d", n, attempts)
	}
}

// checkKnown asserts that a command names the revision known at its first try, and
// keeps it: one that names an older one may be refused as too old to remember.
func (c *cluster) checkKnown(m *member, p fsm.Proposal) {
	if _, again := c.first[p.ID]; again && p.ID != (fsm.CommandID{}) {
		return
	}
	c.first[p.ID] = struct{}{}
	if now := m.f.View().Revision(); p.Known+3 < now {
		c.t.Errorf("%T names revision %d at its first try, known is %d", p.Command, p.Known, now)
	}
}
