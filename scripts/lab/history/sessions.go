package history

import (
	"fmt"
	"slices"
	"time"
)

// afterKill is how long after a kill a door may still send to the dead: its connections
// are refused at once.
const afterKill = 100 * time.Millisecond

// requests: none fails but those that were on the wire to a lost node.
func (e *evidence) requests() (verdict, []Failure) {
	v := verdict{Verdict{Name: VerdictRequests}}
	var failures []Failure
	for _, o := range e.ops {
		if o.Kind != Request && o.Kind != Message {
			continue
		}
		v.Checked++
		if o.Outcome == OK {
			continue
		}
		f := Failure{Op: *o, Excuse: e.excuse(o)}
		failures = append(failures, f)
		if f.Excuse != "" {
			v.Excused++
			continue
		}
		v.violation(o.String())
	}
	return v, failures
}

// excuse says why a failed request was on the wire to a lost node, "" if it was not. The
// wire leads from the user to the door, and from there to the owner.
func (e *evidence) excuse(o *Op) string {
	for _, l := range e.losses {
		switch {
		case l.Node == o.Node && e.doorLost(l, o):
			return fmt.Sprintf("its door %s was %s", o.Node, l.Kind)
		case l.Node == o.Owner && o.Owner != o.Node && e.wireLost(l, o):
			return fmt.Sprintf("on the wire to %s when that was %s", o.Owner, l.Kind)
		case o.Owner == "" && e.wireLost(l, o):
			return fmt.Sprintf("it had no owner yet, and %s was %s", l.Node, l.Kind)
		case l.Node != o.Owner && e.moving(o) && e.wireLost(l, o):
			return fmt.Sprintf("%s was lost, and it may have been moved to %s when that was %s", o.Owner, l.Node, l.Kind)
		case l.Kind == LossDrained && o.Kind == Message && (l.Node == o.Owner || l.Node == o.Node) && l.overlaps(o.Begin, o.End, 0):
			return fmt.Sprintf("%s was drained, and closed it", l.Node)
		case e.led(o) && e.wireLost(l, o):
			return fmt.Sprintf("opened while %s was not reached, it may lead through %s, which was %s", o.Owner, l.Node, l.Kind)
		}
	}
	if e.beyond(o.Begin, o.End) {
		return "more nodes were lost than the cluster survives"
	}
	return ""
}

// moving reports whether the owner was lost for so long that doors looked for another one.
func (e *evidence) moving(o *Op) bool {
	return o.Owner != "" && slices.ContainsFunc(e.losses, func(l Loss) bool {
		return l.Node == o.Owner && l.is(LossKilled, LossPaused, LossCut) && l.overlaps(o.Begin, o.End, 0)
	})
}

// led reports whether a message's WebSocket was opened while its owner was lost: a door that
// does not reach the owner asks a third node to pass everything on, and it stays that way.
func (e *evidence) led(o *Op) bool {
	if o.Kind != Message || o.Owner == o.Node {
		return false
	}
	var opened *Op
	for _, s := range e.sockets[o.Key] {
		if s.End <= o.Begin {
			opened = s
		}
	}
	return opened != nil && slices.ContainsFunc(e.losses, func(l Loss) bool {
		return l.Node == o.Owner && l.overlaps(opened.Begin, opened.End, e.in.Limits.Settle)
	})
}

// doorLost: a cut door still serves the sessions of its own engine.
func (e *evidence) doorLost(l Loss, o *Op) bool {
	if !l.overlaps(o.Begin, o.End, e.in.Limits.Settle) {
		return false
	}
	return l.is(LossKilled, LossPaused) || l.is(LossCut) && o.Owner != o.Node
}

// wireLost: the request was under way at the moment of the loss, or was sent before doors
// can have known of it.
func (e *evidence) wireLost(l Loss, o *Op) bool {
	known := afterKill
	switch {
	case l.Kind == LossShaky && o.Kind == Message:
		known = l.over() - l.At + e.in.Limits.Detect // that nothing has come from it lately is found a little later
	case l.Kind == LossRestarted, l.Kind == LossShaky, l.Kind == LossStarved:
		known = l.over() - l.At
	case l.is(LossPaused, LossCut):
		known = e.in.Limits.Detect
	}
	return l.is(LossKilled, LossPaused, LossCut) && o.Begin <= l.At+known && o.End >= l.At
}

// moves: a session changes its owner only if that, or the door that moved it, was lost; and
// the session of a lost node is served again in time.
func (e *evidence) moves() (verdict, []Figure) {
	v := verdict{Verdict{Name: VerdictMoves}}
	var took []time.Duration
	moved := 0
	for _, s := range e.sessions {
		var last *Op // that was answered
		for _, o := range s {
			if o.Outcome != OK {
				continue
			}
			if o.Value == "" {
				v.violation("it does not say who answered: " + o.String())
				continue
			}
			if last == nil {
				v.Checked++
			} else if last.Value != o.Value {
				moved++
				if !e.mayMove(last, o) {
					v.violation(fmt.Sprintf("session %s left %s without a loss: %s; then %s", o.Key, last.Value, last, o))
				}
			}
			last = o
		}
		for _, l := range e.losses {
			d, why := e.served(s, l)
			if why != "" {
				v.violation(why)
			}
			if d >= 0 {
				took = append(took, d)
			}
		}
	}
	slices.Sort(took)
	figures := []Figure{{"sessions that moved", "", float64(moved)}, {"sessions of lost nodes that asked again", "", float64(len(took))}}
	for _, q := range []struct {
		name string
		of   float64
	}{{"median", 0.5}, {"99th percentile", 0.99}, {"longest", 1}} {
		if len(took) > 0 {
			at := took[min(len(took)-1, int(q.of*float64(len(took))))]
			figures = append(figures, Figure{"until the session of a lost node was served: " + q.name, "s", at.Seconds()})
		}
	}
	return v, figures
}

// mayMove reports whether a loss explains that b was answered by another node than a.
func (e *evidence) mayMove(a, b *Op) bool {
	return slices.ContainsFunc(e.losses, func(l Loss) bool {
		mine := l.Node == a.Value || l.Node == b.Node && l.Kind != LossDrained
		return mine && l.overlaps(a.Begin, b.End, e.in.Limits.Settle)
	})
}

// served measures how long a session of the lost node waited: from its first try at a
// door that was there, or from the loss if the try was under way then, to the next answer,
// without what it spent on tries at doors that were lost themselves, or on those that failed while
// another node was cut off again and again. It is -1 if it had no
// such try.
func (e *evidence) served(s []*Op, l Loss) (took time.Duration, why string) {
	if l.Kind == LossDrained || l.Kind == LossRestarted {
		return -1, ""
	}
	if l.Kind == LossShaky {
		return -1, "" // it is there
	}
	limit := e.in.Limits.Move
	if !l.is(LossKilled) {
		limit = e.in.Limits.MoveHung
	}
	if l.Kind == LossStarved {
		limit *= 2
	}
	var first *Op
	var elsewhere time.Duration // at lost doors
	owner := ""
	for _, o := range s {
		gone := false
		switch {
		case o.Outcome == OK && o.End < l.At:
			owner = o.Value
			continue
		case o.End < l.At || owner != l.Node:
			continue
		case first == nil && o.Begin > l.over():
			return -1, "" // it did not ask while the node was lost
		case e.doorGone(o):
			gone = true
		case first == nil:
			first = o
		}
		if first == nil {
			if o.Outcome == OK {
				return -1, "" // a lost door, back again, served it
			}
			continue
		}
		if gone || o.Outcome != OK && e.shakyBeside(l.Node, o.Begin, o.End) {
			elsewhere += o.End - o.Begin // it may have moved to a node that was no better
		}
		if o.Outcome != OK {
			continue
		}
		took = o.End - max(first.waiting(), l.At) - elsewhere
		if e.shaky(o.Value, first.waiting(), o.End) {
			limit *= 2 // its new node was no better: another wait
		}
		if took > limit && !e.beyond(first.waiting(), o.End) {
			why = fmt.Sprintf("session %s of %s (%s) was served again after %s: %s; then %s", o.Key, l.Node, l.Kind, took.Round(time.Millisecond), first, o)
		}
		return took, why
	}
	if first != nil && e.end-max(first.waiting(), l.At)-elsewhere > limit {
		return -1, fmt.Sprintf("session %s of %s (%s) was never served again: %s", first.Key, l.Node, l.Kind, first)
	}
	return -1, ""
}

// shaky reports whether a node was cut off again and again at some time between.
func (e *evidence) shaky(node string, begin, end time.Duration) bool {
	return slices.ContainsFunc(e.losses, func(l Loss) bool {
		return l.Node == node && l.Kind == LossShaky && l.overlaps(begin, end, 0)
	})
}

// shakyBeside is shaky for any other node.
func (e *evidence) shakyBeside(lost string, begin, end time.Duration) bool {
	return slices.ContainsFunc(e.losses, func(l Loss) bool { return l.Node != lost && e.shaky(l.Node, begin, end) })
}

// waiting is since when the user has waited for what became of it.
func (o *Op) waiting() time.Duration { return max(o.Begin, o.Sent) }

// doorGone reports whether the door of a try was lost at its begin, or while it was under way.
func (e *evidence) doorGone(o *Op) bool {
	return slices.ContainsFunc(e.losses, func(l Loss) bool { return l.Node == o.Node && e.doorLost(l, o) })
}
