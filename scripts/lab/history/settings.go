package history

import (
	"fmt"
	"slices"
	"time"
)

// refusals: a compare-and-set is refused only if the row had changed, and what was refused
// in any way is never seen.
//
// The client had seen the row e that it expected. That row was changed by the end of the
// refusal: so no later operation finds it, and the change that followed it, or a ghost,
// had begun by then. Nothing else can be said, for revisions only rise.
func (e *evidence) refusals() verdict {
	v := verdict{Verdict{Name: VerdictRefusals}}
	for _, g := range e.registers {
		for _, o := range g.refused {
			v.Checked++
			if r, ok := g.seen[o.Value]; ok {
				v.violation(fmt.Sprintf("%s: what was refused is there with revision %d: %s%s", g.key, r.revision, o, shownBy(r)))
			}
			if o.Kind != CompareAndSet || o.Detail != Precondition || o.Expected == 0 {
				continue
			}
			switch why, excused := g.refusal(o); {
			case why != "":
				v.violation(why)
			case excused:
				v.Excused++
			}
		}
	}
	return v
}

func shownBy(r row) string {
	if r.by == nil {
		return "; a node ended with it"
	}
	return "; " + r.by.String()
}

// refusal says what is wrong with a refusal of a precondition, and whether only a ghost
// explains it.
func (g *register) refusal(o *Op) (why string, excused bool) {
	row := 2 * o.Expected
	var next *access
	begun := false
	for i := range g.ranked {
		a := &g.ranked[i]
		if a.op.Begin > o.End && (!a.write && a.rank == row || a.write && a.expected == row) {
			return fmt.Sprintf("%s: refused although the row was there still: %s; then %s", g.key, o, a.op), false
		}
		if !a.write || a.rank <= row {
			continue
		}
		// The next row, or one that was somewhere before a later row.
		between := a.rank%2 == 1 && a.expected == 0
		if next == nil || a.rank == next.rank || between {
			begun = begun || a.op.Begin <= o.End
		}
		if next == nil {
			next = a
		}
	}
	if begun {
		return "", false
	}
	if slices.ContainsFunc(g.ghosts, func(x *Op) bool { return x.Begin <= o.End }) {
		return "", true
	}
	return fmt.Sprintf("%s: refused although nobody had changed the row: %s", g.key, o), false
}

// acknowledged: each node ends with a row that is not older than any that was
// acknowledged, and that somebody wrote.
func (e *evidence) acknowledged() verdict {
	v := verdict{Verdict{Name: VerdictAcknowledged}}
	for _, g := range e.registers {
		if len(g.sure) == 0 || len(e.in.Nodes) == 0 {
			continue
		}
		v.Checked += len(g.sure)
		for i := range e.in.Nodes {
			if why := g.ending(&e.in.Nodes[i]); why != "" {
				v.violation(why)
			}
		}
	}
	return v
}

// ending says what is wrong with the row that a node ended with.
func (g *register) ending(n *NodeState) string {
	got, ok := n.Settings[g.key]
	at := fmt.Sprintf("%s: %s ended with %q, revision %d", g.key, n.Name, got.Value, got.Revision)
	if !ok {
		return fmt.Sprintf("%s: %s ended without it", g.key, n.Name)
	}
	if 2*got.Revision < g.lastSure {
		lost := g.writeOf(g.lastSure)
		return fmt.Sprintf("%s, although a later row was acknowledged: %s", at, lost)
	}
	w := g.writeOf(2 * got.Revision)
	switch {
	case w == nil:
		return at + ", which nobody wrote"
	case w.Value != got.Value:
		return fmt.Sprintf("%s, but that revision is another's: %s", at, w)
	}
	return ""
}

// stale: every answer to a stale read is labelled, and no other is; it shows what
// was true at some time before; and no node shows an earlier state than it has shown,
// unless its agent was started anew in between.
func (e *evidence) stale() verdict {
	v := verdict{Verdict{Name: VerdictStale}}
	perNode := map[string][]*Op{}
	for _, o := range e.ops {
		if o.Outcome != OK || o.Kind != Read && o.Kind != StaleRead {
			continue
		}
		perNode[o.Node] = append(perNode[o.Node], o)
		switch {
		case o.Kind == Read && o.Stale:
			v.violation("a read that was to be linearizable was answered as stale: " + o.String())
		case o.Kind == StaleRead && !o.Stale:
			v.violation("without its label: " + o.String())
		case o.Revision > o.Index:
			v.violation("it shows a row of a later state than it says: " + o.String())
		}
	}
	for _, g := range e.registers {
		v.Checked += len(g.stale)
		for _, o := range g.stale {
			if why := g.untrue(o); why != "" {
				v.violation(why)
			}
		}
	}
	for _, name := range sortedKeys(perNode) {
		e.backwards(&v, name, perNode[name])
	}
	return v
}

// untrue says why the register cannot have held what a stale read shows.
func (g *register) untrue(o *Op) string {
	w := g.writeOf(2 * o.Revision)
	switch tried := g.written[o.Value]; {
	case w == nil && tried == nil && 2*o.Revision < g.firstWrite():
		return "" // from before the run
	case w == nil:
		return fmt.Sprintf("%s: nobody made this row: %s", g.key, o)
	case w.Value != o.Value:
		return fmt.Sprintf("%s: it shows another's value under the revision of %s: %s", g.key, w, o)
	case w.Begin > o.End:
		return fmt.Sprintf("%s: it shows the future: %s; then %s", g.key, o, w)
	}
	return ""
}

// backwards finds reads on one node that show an earlier state than one that had ended
// before they began. Reads while the agent was down and came up tell nothing.
func (e *evidence) backwards(v *verdict, node string, reads []*Op) {
	var down []Loss
	for _, l := range e.losses {
		if l.Node == node && l.is(LossKilled) {
			down = append(down, l)
		}
	}
	lives := map[int][]*Op{}
	for _, o := range reads {
		life := 0
		for _, l := range down {
			if l.overlaps(o.Begin, o.End, 0) {
				life = -1
				break
			}
			if l.over() < o.Begin {
				life++
			}
		}
		if life < 0 {
			v.Excused++
			continue
		}
		lives[life] = append(lives[life], o)
	}
	for life := range len(down) + 1 {
		if a, b := falling(lives[life]); a != nil {
			v.violation(fmt.Sprintf("%s went back: %s; then %s", node, a, b))
		}
	}
}

// falling finds two reads, one after the other, of which the second shows less.
func falling(reads []*Op) (first, second *Op) {
	begins := slices.Clone(reads)
	slices.SortStableFunc(begins, func(a, b *Op) int { return compareTimes(a.Begin, b.Begin, 0, 0) })
	ends := slices.Clone(reads)
	slices.SortStableFunc(ends, func(a, b *Op) int { return compareTimes(a.End, b.End, 0, 0) })
	var best *Op
	for _, o := range begins {
		for len(ends) > 0 && ends[0].End < o.Begin {
			if best == nil || ends[0].Index > best.Index {
				best = ends[0]
			}
			ends = ends[1:]
		}
		if best != nil && o.Index < best.Index {
			return best, o
		}
	}
	return nil, nil
}

// convergence: all nodes end with the same revision and settings.
func (e *evidence) convergence() verdict {
	v := verdict{Verdict{Name: VerdictConvergence}}
	if len(e.in.Nodes) < 2 {
		return v
	}
	first := &e.in.Nodes[0]
	for i := range e.in.Nodes {
		n := &e.in.Nodes[i]
		v.Checked++
		if n.Revision != first.Revision {
			v.violation(fmt.Sprintf("%s ended at revision %d, %s at %d", first.Name, first.Revision, n.Name, n.Revision))
		}
		for _, key := range sortedKeys(first.Settings) {
			if n.Settings[key] != first.Settings[key] {
				v.violation(fmt.Sprintf("%s: %s ended with %+v, %s with %+v", key, first.Name, first.Settings[key], n.Name, n.Settings[key]))
			}
		}
		if len(n.Settings) != len(first.Settings) {
			v.violation(fmt.Sprintf("%s ended with %d settings, %s with %d", first.Name, len(first.Settings), n.Name, len(n.Settings)))
		}
	}
	return v
}

// hashes: all nodes end with the same hash, and each has one.
func (e *evidence) hashes() verdict {
	v := verdict{Verdict{Name: VerdictHashes}}
	have := slices.IndexFunc(e.in.Nodes, func(n NodeState) bool { return n.Hash != "" })
	if have < 0 || len(e.in.Nodes) < 2 {
		return v
	}
	for _, n := range e.in.Nodes {
		v.Checked++
		if n.Hash != e.in.Nodes[have].Hash {
			v.violation(fmt.Sprintf("%s ended with the hash %q, %s with %q", e.in.Nodes[have].Name, e.in.Nodes[have].Hash, n.Name, n.Hash))
		}
	}
	return v
}

// leaders: no term has two.
func (e *evidence) leaders() verdict {
	v := verdict{Verdict{Name: VerdictLeaders}}
	of := map[uint64]string{}
	for _, l := range e.in.Leaders {
		switch other, ok := of[l.Term]; {
		case !ok:
			of[l.Term] = l.Node
			v.Checked++
		case other != l.Node:
			v.violation(fmt.Sprintf("term %d has two leaders, %s and %s", l.Term, other, l.Node))
		}
	}
	return v
}

// outages are the longest times without an acknowledged write around each loss.
func (e *evidence) outages() []Outage {
	var acks []time.Duration
	for _, o := range e.ops {
		if o.isWrite() && o.Outcome == OK {
			acks = append(acks, o.End)
		}
	}
	slices.Sort(acks)
	acks = append(acks, e.end)
	var out []Outage
	for _, l := range e.losses {
		worst := Outage{Loss: l}
		before := time.Duration(0)
		for _, at := range acks {
			if l.overlaps(before, at, e.in.Limits.Settle) && at-before > worst.Longest {
				worst.Longest, worst.From = at-before, before
			}
			before = at
		}
		out = append(out, worst)
	}
	return out
}

// figures say how much was done.
func (e *evidence) figures() []Figure {
	acknowledged := map[Kind]int{}
	clients := map[string]map[int]bool{}
	for _, o := range e.ops {
		if o.Outcome == OK {
			acknowledged[o.Kind]++
		}
		if o.isWrite() || o.Kind == Read {
			if clients[o.Key] == nil {
				clients[o.Key] = map[int]bool{}
			}
			clients[o.Key][o.Client] = true
		}
	}
	most := 0
	for _, c := range clients {
		most = max(most, len(c))
	}
	out := []Figure{
		{"length of the history", "s", e.end.Seconds()},
		{"operations", "", float64(len(e.ops))},
		{"most clients on one key", "", float64(most)},
	}
	for _, k := range Kinds() {
		out = append(out, Figure{"acknowledged: " + string(k), "", float64(acknowledged[k])})
	}
	return out
}
