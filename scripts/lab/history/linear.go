package history

import (
	"fmt"
	"time"

	"github.com/anishathalye/porcupine"
)

// maxSegment is about how many operations porcupine gets at once. Its memory grows with
// the square of that.
const maxSegment = 512

// linearizability asks porcupine about each key. A long history is cut between two rows
// of its key: the operations up to row R, and those after it, which begin with R. That is
// exact. In any order that explains the whole, ranks never fall, so all of the first part
// comes before all of the second; and orders of the two parts, one after the other, explain
// the whole if nothing of the second part had ended before something of the first began,
// which is checked as well.
func (e *evidence) linearizability() verdict {
	v := verdict{Verdict{Name: VerdictLinearizability}}
	for _, g := range e.registers {
		v.Checked += len(g.ranked)
		for _, o := range g.odd {
			v.violation("acknowledged without a revision: " + o.String())
		}
		parts := g.segments(maxSegment)
		if why := across(parts); why != "" {
			v.violation(why)
		}
		left := e.in.Limits.Solve
		from := state{any: true}
		for _, part := range parts {
			began := time.Now()
			result := porcupine.CheckOperationsTimeout(registerModel(from), operations(part), max(left, time.Millisecond))
			if why := whyNot(result, g.key, from, part); why != "" {
				v.violation(why)
			}
			left -= time.Since(began)
			from = after(from, part)
		}
	}
	return v
}

// whyNot turns porcupine's word into evidence. Not to have decided is a violation.
func whyNot(result porcupine.CheckResult, key string, from state, part []access) string {
	switch result {
	case porcupine.Ok:
		return ""
	case porcupine.Illegal:
		return explain(key, from, part)
	}
	return fmt.Sprintf("%s: not decided in time: %d operations from revision %d to %d", key, len(part), part[0].rank/2, part[len(part)-1].rank/2)
}

// segments cuts between rows. Whatever belongs to the way from one row to the next stays
// together.
func (g *register) segments(most int) [][]access {
	var out [][]access
	from := 0
	for i := range g.ranked {
		if i-from >= most && rowOf(g.ranked[i]) != rowOf(g.ranked[i-1]) {
			out = append(out, g.ranked[from:i])
			from = i
		}
	}
	if from < len(g.ranked) {
		out = append(out, g.ranked[from:])
	}
	return out
}

// rowOf is the row that the access shows or makes, or comes just before.
func rowOf(a access) uint64 { return (a.rank + 1) / 2 }

// across finds an operation that had ended before one of an earlier part began.
func across(parts [][]access) string {
	var latest access // the begin of what was looked at so far
	for i, part := range parts {
		for _, a := range part {
			if i > 0 && a.end < latest.op.Begin {
				return fmt.Sprintf("%s: what came first shows the later row: %s; then %s", a.op.Key, a.op, latest.op)
			}
		}
		for _, a := range part {
			if latest.op == nil || a.op.Begin > latest.op.Begin {
				latest = a
			}
		}
	}
	return ""
}

// state is what a register holds; any: what it held before the run, of which the first
// read tells.
type state struct {
	any   bool
	rank  uint64
	value string
}

// step is one operation on a register, as the state explains it or not.
func step(s state, a access) (bool, state) {
	next := state{rank: a.rank, value: a.op.Value}
	switch {
	case !a.write:
		return s.any || s == next, next
	case a.expected != 0 && !s.any && s.rank != a.expected:
		return false, s
	case a.expected != 0 && s.any && a.rank <= a.expected:
		return false, s
	case s.any || a.rank > s.rank:
		return true, next
	case a.expected == 0 && a.rank == s.rank && a.rank%2 == 1: // several just before the same row
		return true, next
	}
	return false, s
}

// after is what the register holds after a part.
func after(s state, part []access) state {
	for _, a := range part {
		if a.write || s.any {
			s = state{rank: a.rank, value: a.op.Value}
		}
	}
	return s
}

func registerModel(from state) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(s, in, _ any) (bool, any) { return step(s.(state), in.(access)) },
	}
}

func operations(part []access) []porcupine.Operation {
	out := make([]porcupine.Operation, len(part))
	for i, a := range part {
		out[i] = porcupine.Operation{ClientId: a.op.Client, Input: a, Call: int64(a.op.Begin), Return: int64(a.end)}
	}
	return out
}

// explain looks for the few operations that show why a part is not linearizable.
func explain(key string, from state, part []access) string {
	s := from
	var begun *access // the latest begin so far, of a lower rank
	var pending []access
	for i := range part {
		a := part[i]
		if i > 0 && a.rank != part[i-1].rank {
			for _, p := range pending {
				if begun == nil || p.op.Begin > begun.op.Begin {
					begun = &p
				}
			}
			pending = pending[:0]
		}
		pending = append(pending, a)
		switch {
		case begun != nil && a.end < begun.op.Begin:
			return fmt.Sprintf("%s: what came first shows the later row: %s; then %s", key, a.op, begun.op)
		case a.write && a.expected != 0 && !s.any && s.rank != a.expected:
			return fmt.Sprintf("%s: it changed a row that was no more there (revision %d was): %s", key, s.rank/2, a.op)
		case a.write && !s.any && a.rank == s.rank && a.rank%2 == 0:
			return fmt.Sprintf("%s: two writes have one revision: %q and %s", key, s.value, a.op)
		}
		if a.write || s.any {
			s = state{rank: a.rank, value: a.op.Value}
		}
	}
	return explainReads(key, from, part)
}

// explainReads looks for a read of what was not there, and for one that ended before
// what it shows was begun.
func explainReads(key string, from state, part []access) string {
	made := map[state]*Op{}
	first := uint64(2 * maxRevision) // rank of the first write
	for _, a := range part {
		if a.write {
			made[state{rank: a.rank, value: a.op.Value}] = a.op
			first = min(first, a.rank)
		}
	}
	for _, a := range part {
		shown := state{rank: a.rank, value: a.op.Value}
		w := made[shown]
		switch {
		case a.write || shown == from || w == nil && from.any && a.rank < first:
		case w == nil:
			return fmt.Sprintf("%s: nobody wrote what this shows: %s", key, a.op)
		case a.end < w.Begin:
			return fmt.Sprintf("%s: read before it was written: %s; then %s", key, a.op, w)
		}
	}
	return fmt.Sprintf("%s: no order explains its %d operations from revision %d to %d, the first of them %s",
		key, len(part), part[0].rank/2, part[len(part)-1].rank/2, part[0].op)
}
