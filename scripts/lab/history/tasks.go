package history

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// occurrences: each due time of a schedule has exactly one record, each run by hand that
// was acknowledged too, and all of them are terminal.
func (e *evidence) occurrences() verdict {
	v := verdict{Verdict{Name: VerdictOccurrences}}
	type due struct {
		task string
		at   int64
	}
	have := map[due]bool{}
	byID := map[string]*Occurrence{}
	for i := range e.in.Occurrences {
		o := &e.in.Occurrences[i]
		v.Checked++
		d := due{o.Task, o.Due.UnixNano()}
		if have[d] || byID[o.ID] != nil {
			v.violation(fmt.Sprintf("%s has two records", o.ID))
		}
		have[d], byID[o.ID] = true, o
		if !terminal(o.State) {
			v.violation(fmt.Sprintf("%s is %s still", o.ID, o.State))
		}
	}
	for _, s := range e.in.Schedules {
		e.schedule(&v, s)
	}
	e.byHand(&v, byID)
	return v
}

func terminal(state string) bool {
	return slices.Contains([]string{"succeeded", "failed", "lost", "missed", "skipped"}, state)
}

// schedule looks for due times without a record.
func (e *evidence) schedule(v *verdict, s Schedule) {
	var due []time.Time
	for _, o := range e.in.Occurrences {
		if o.Task == s.Task && !o.Manual {
			due = append(due, o.Due)
		}
	}
	if len(due) == 0 || s.Every <= 0 {
		v.violation(fmt.Sprintf("task %s, every %s, has no records", s.Task, s.Every))
		return
	}
	slices.SortFunc(due, time.Time.Compare)
	for i := 1; i < len(due); i++ {
		if gap := due[i].Sub(due[i-1]); gap > s.Every || gap > 0 && gap < s.Every {
			v.violation(fmt.Sprintf("task %s, every %s: after the record due %s comes the one due %s",
				s.Task, s.Every, due[i-1].Format(time.RFC3339Nano), due[i].Format(time.RFC3339Nano)))
		}
	}
}

// byHand looks for runs that were asked for and are not there, and for those that nobody
// asked for.
func (e *evidence) byHand(v *verdict, byID map[string]*Occurrence) {
	asked := map[string]bool{}
	perhaps := map[string]int{}
	for _, o := range e.ops {
		switch {
		case o.Kind != Task || o.Outcome == Refused:
		case o.Outcome == Unknown:
			perhaps[o.Key]++
		default:
			v.Checked++
			if asked[o.Value] {
				v.violation("two requests made one record: " + o.String())
			}
			asked[o.Value] = true
			if row := byID[o.Value]; row == nil || !row.Manual || row.Task != o.Key {
				v.violation("it has no record: " + o.String())
			}
		}
	}
	for _, id := range sortedKeys(byID) {
		row := byID[id]
		if !row.Manual || asked[id] {
			continue
		}
		if perhaps[row.Task]--; perhaps[row.Task] < 0 {
			v.violation(fmt.Sprintf("nobody asked for the run %s", id))
		}
	}
}

// try names one attempt.
type try struct {
	task    string
	due     int64
	attempt int
}

func (t try) String() string {
	return fmt.Sprintf("attempt %d of %s@%s", t.attempt, t.task, time.Unix(0, t.due).UTC().Format(time.RFC3339Nano))
}

// attempts: no engine, and no two engines, began an attempt twice; what an engine began the
// state knows as started; and what succeeded an engine began, unless its counters went down
// with it.
func (e *evidence) attempts() verdict {
	v := verdict{Verdict{Name: VerdictAttempts}}
	started := map[try]AttemptState{}
	for _, o := range e.in.Occurrences {
		for _, a := range o.Attempts {
			started[try{o.Task, o.Due.UnixNano(), a.Number}] = a
		}
	}
	counted := map[try]int64{}
	for _, c := range e.in.Counts {
		counted[try{c.Task, c.Due.UnixNano(), c.Attempt}] += c.Started
	}
	for _, t := range sortedTries(counted) {
		n := counted[t]
		if n == 0 {
			continue
		}
		v.Checked++
		if n > 1 {
			v.violation(fmt.Sprintf("%s was started %d times", t, n))
		}
		if a, ok := started[t]; !ok || !a.Started {
			v.violation(fmt.Sprintf("an engine began %s, which the state does not know as started", t))
		}
	}
	for _, t := range sortedTries(started) {
		a := started[t]
		if a.State != "succeeded" || len(e.in.Counts) == 0 {
			continue
		}
		switch {
		case counted[t] > 0:
		case slices.ContainsFunc(e.losses, func(l Loss) bool { return l.Node == a.Node && l.is(LossKilled) }):
			v.Excused++
		default:
			v.violation(fmt.Sprintf("%s succeeded on %s, whose engine never began it", t, a.Node))
		}
	}
	return v
}

func sortedTries[T any](m map[try]T) []try {
	out := make([]try, 0, len(m))
	for t := range m {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b try) int {
		return cmp.Or(cmp.Compare(a.task, b.task), cmp.Compare(a.due, b.due), cmp.Compare(a.attempt, b.attempt))
	})
	return out
}
