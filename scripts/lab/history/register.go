package history

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// register is what happened to one key.
//
// The state numbers every change with a revision, and answers show it. So the order of the
// writes is known, and the checks need not search for it: each operation has a rank.
//
//   - A write or read of revision r has rank 2r.
//   - A write that was acknowledged when its node showed a later row r already, and whose
//     value nobody ever saw, has rank 2r-1: just before that row. It happened somewhere
//     before r, and may be moved there: nobody saw it, and the answer that showed r ended with
//     it, so whatever began after it came after r. If a compare-and-set made row r from row e,
//     nothing lies between the two, and it goes before e. A compare-and-set like that has rank
//     2e+1, where e is the revision that it expected: nothing comes between the two.
//   - A write of unknown outcome whose value was seen happened, with the revision that was
//     seen, at any time after it began.
//   - One whose value nobody saw is a ghost: whether it happened makes no difference to any
//     read or write of others, as it may be put behind them all. Only a compare-and-set
//     that was refused may have been refused for its sake.
type register struct {
	key      string
	ranked   []access // by rank; those of a rank in the order of the history
	stale    []*Op    // that were answered
	ghosts   []*Op
	refused  []*Op // writes and compare-and-sets
	lastSure uint64
	sure     []*Op             // acknowledged writes
	odd      []*Op             // acknowledged, but with nothing that ranks them
	seen     map[string]row    // values that were shown, or acknowledged with their revision
	written  map[string]*Op    // all that was tried
	from     map[uint64]uint64 // row that a compare-and-set made: row that it changed
}

type row struct {
	revision uint64
	by       *Op // nil: a node's final state
}

// access is an operation on a register that happened.
type access struct {
	op       *Op
	rank     uint64
	write    bool
	expected uint64        // rank of the row that a compare-and-set changed; 0 for none
	end      time.Duration // when it had happened
}

// forever is the end of an operation that may happen at any time.
const forever = time.Duration(math.MaxInt64)

func newRegister(key string, ops []*Op, nodes []NodeState) *register {
	g := &register{key: key, seen: map[string]row{}, written: map[string]*Op{}, from: map[uint64]uint64{}}
	for _, o := range ops {
		if o.isWrite() {
			g.written[o.Value] = o
		}
		if o.Outcome == OK && (o.Revision != 0 || !o.isWrite()) {
			g.see(o.Value, row{o.Revision, o})
		}
	}
	for i := range nodes {
		if s, ok := nodes[i].Settings[key]; ok {
			g.see(s.Value, row{s.Revision, nil})
		}
	}
	for value, r := range g.seen {
		if w := g.written[value]; w != nil && w.Expected != 0 && w.Expected < r.revision {
			g.from[r.revision] = w.Expected
		}
	}
	for _, o := range ops {
		g.add(o)
	}
	slices.SortStableFunc(g.ranked, func(a, b access) int { return cmp.Compare(a.rank, b.rank) })
	return g
}

// see keeps the lowest revision of a value: another one is a violation, which the read
// that shows it is found by.
func (g *register) see(value string, r row) {
	if old, ok := g.seen[value]; !ok || r.revision < old.revision {
		g.seen[value] = r
	}
}

func (o *Op) isWrite() bool { return o.Kind == Write || o.Kind == CompareAndSet }

func (g *register) add(o *Op) {
	switch {
	case o.Kind == StaleRead && o.Outcome == OK:
		g.stale = append(g.stale, o)
	case o.Kind == Read && o.Outcome == OK:
		g.ranked = append(g.ranked, access{op: o, rank: 2 * o.Revision, end: o.End})
	case !o.isWrite():
	case o.Outcome == Refused:
		g.refused = append(g.refused, o)
	case o.Outcome == Unknown:
		r, ok := g.seen[o.Value]
		if !ok {
			g.ghosts = append(g.ghosts, o)
			return
		}
		g.ranked = append(g.ranked, g.change(o, 2*r.revision, forever))
	default:
		g.addSure(o)
	}
}

func (g *register) addSure(o *Op) {
	g.sure = append(g.sure, o)
	rank := 2 * o.Revision
	if r, ok := g.seen[o.Value]; rank == 0 && ok {
		rank = 2 * r.revision
	}
	switch {
	case rank != 0:
	case o.Kind == CompareAndSet && o.Expected != 0:
		rank = 2*o.Expected + 1
	case o.Index != 0:
		rank = 2*g.before(o.Index) - 1
	default:
		g.odd = append(g.odd, o)
		return
	}
	g.lastSure = max(g.lastSure, rank)
	g.ranked = append(g.ranked, g.change(o, rank, o.End))
}

// before is the row that something which came before a row, and was not seen, came before
// at the latest without being between two rows of which one was made from the other.
func (g *register) before(revision uint64) uint64 {
	for g.from[revision] != 0 {
		revision = g.from[revision]
	}
	return revision
}

func (g *register) change(o *Op, rank uint64, end time.Duration) access {
	return access{op: o, rank: rank, write: true, expected: 2 * o.Expected, end: end}
}

// writeOf is the write with the rank, if there is one.
func (g *register) writeOf(rank uint64) *Op {
	i, _ := slices.BinarySearchFunc(g.ranked, rank, func(a access, r uint64) int { return cmp.Compare(a.rank, r) })
	for ; i < len(g.ranked) && g.ranked[i].rank == rank; i++ {
		if g.ranked[i].write {
			return g.ranked[i].op
		}
	}
	return nil
}

// firstWrite is the rank of the first change that is known, maxRevision*2 for none.
func (g *register) firstWrite() uint64 {
	for _, a := range g.ranked {
		if a.write {
			return a.rank
		}
	}
	return 2 * maxRevision
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

func compareTimes(a, b, a2, b2 time.Duration) int {
	return cmp.Or(cmp.Compare(a, b), cmp.Compare(a2, b2))
}
