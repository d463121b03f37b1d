package fsm

import (
	"iter"
	"slices"
)

// journal is the audit rows of a state, oldest first. They come at the end, in the order
// of revisions, leave at the beginning, and never change, so they need no tree: a journal
// is a window on an array that only grows. Its value is immutable. Values share the
// array, and only the newest of a chain may be added to.
type journal struct{ rows []*Audit }

// add puts a row at the end. It costs a pointer; rows that were dropped leave memory
// when the array is next copied.
func (j journal) add(row *Audit) journal { return journal{append(j.rows, row)} }

// drop takes the oldest row away.
func (j journal) drop() (journal, *Audit) { return journal{j.rows[1:]}, j.rows[0] }

func (j journal) size() int { return len(j.rows) }

// last is the revision of the newest row; 0 when there is none.
func (j journal) last() uint64 {
	if len(j.rows) == 0 {
		return 0
	}
	return j.rows[len(j.rows)-1].Revision
}

// from goes through the rows from a revision on, oldest first.
func (j journal) from(rev uint64) iter.Seq[*Audit] {
	return slices.Values(j.rows[j.find(rev):])
}

// before goes through the rows below a revision, newest first.
func (j journal) before(rev uint64) iter.Seq[*Audit] {
	return func(yield func(*Audit) bool) {
		for _, row := range slices.Backward(j.rows[:j.find(rev)]) {
			if !yield(row) {
				return
			}
		}
	}
}

// find is the place of the first row at or after a revision.
func (j journal) find(rev uint64) int {
	i, _ := slices.BinarySearchFunc(j.rows, rev, func(a *Audit, rev uint64) int {
		switch {
		case a.Revision < rev:
			return -1
		case a.Revision > rev:
			return 1
		}
		return 0
	})
	return i
}
