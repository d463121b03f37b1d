package fsm

import "math/bits"

// Tables is a set of tables of the state.
type Tables uint16

// Tables that readers wait for.
const (
	InCluster Tables = 1 << iota
	InSettings
	InNodes
	InJoinTokens
	InTokens
	InTasks
	InOccurrences
	InAudit

	nrTables = iota
	// Everything is the whole state: each command counts, also one that was refused.
	Everything = ^Tables(0)
)

// touched holds for each of these tables the revision at which it changed last. It is no
// part of the state: after a restore all of them changed at the snapshot's revision.
type touched [nrTables]uint64

// tablesOf is the set that holds a table alone; none when nobody waits for it.
func tablesOf(table string) Tables {
	switch table {
	case tableCluster:
		return InCluster
	case tableSettings:
		return InSettings
	case tableNodes:
		return InNodes
	case tableJoinTokens:
		return InJoinTokens
	case tableTokens:
		return InTokens
	case tableTasks:
		return InTasks
	case tableOccurrences:
		return InOccurrences
	case tableAudit:
		return InAudit
	}
	return 0
}

func (t *touched) touch(table string, rev uint64) {
	if set := tablesOf(table); set != 0 {
		t[bits.TrailingZeros16(uint16(set))] = rev
	}
}

func allTouched(rev uint64) touched {
	var t touched
	for i := range t {
		t[i] = rev
	}
	return t
}

// Touched is the revision at which a row of one of the tables was made, changed or
// removed last; of Everything it is the view's own. It may be later than the truth, by
// as much as a restored snapshot is.
func (v View) Touched(set Tables) uint64 {
	if set == Everything {
		return v.rev
	}
	var last uint64
	for i, rev := range v.touched {
		if set&(1<<i) != 0 {
			last = max(last, rev)
		}
	}
	return last
}

// changedAt is the revision that changed the row last.
func (m Meta) changedAt() uint64 { return m.Modified }
