package history

import (
	"slices"
	"time"
)

// Moved is what became of all sessions when one node was lost, of whose history nothing else
// is to be explained. A session's door is the one that it asked last before the loss.
type Moved struct {
	Sessions int // that were answered before the loss
	Owned    int // of the lost node
	Moved    int // of those: answered by another one's engine since
	Touched  int // of other nodes, at other nodes' doors, that failed once or were moved all the same

	// From the loss to the first answer by another engine, in order: of sessions of the lost
	// node whose user was at other doors all the time, and of those who were at its own, which
	// they have to notice themselves.
	Elsewhere, AtItsDoor []time.Duration
	// Waited is the same for all, but from each one's first try at a door that was there, or
	// from the loss if that try was under way.
	Waited []time.Duration

	OnWire int // requests and messages that failed on the way to the lost node's engine
	ByDoor int // that failed because the user was at the lost door
	Failed int // that failed for no such reason

	Sockets int // WebSockets that broke, and led to the lost node or through its door
	Opened  int // of those: in use again
}

// MovedBy looks at operations up to the end of a run, in which the loss was the only one.
func MovedBy(ops []Op, l Loss, limits Limits) Moved {
	e := newEvidence(ops, Input{Losses: []Loss{l}, Limits: limits})
	var m Moved
	_, failures := e.requests()
	for _, f := range failures {
		switch {
		case f.Node == l.Node && f.Excuse != "":
			m.ByDoor++
		case f.Excuse != "":
			m.OnWire++
		default:
			m.Failed++
		}
	}
	for _, s := range e.sessions {
		m.session(e, s, l)
	}
	for _, all := range [][]time.Duration{m.Elsewhere, m.AtItsDoor, m.Waited} {
		slices.Sort(all)
	}
	return m
}

// session adds one.
func (m *Moved) session(e *evidence, s []*Op, l Loss) {
	first := slices.IndexFunc(s, func(o *Op) bool { return o.End >= l.At })
	if first < 0 {
		first = len(s)
	}
	var last *Op // that was answered before the loss
	for _, o := range s[:first] {
		if o.Outcome == OK {
			last = o
		}
	}
	if last == nil {
		return
	}
	m.Sessions++
	owner, door := last.Value, s[first-1].Node
	m.socket(s[first:], last, l)
	if owner != l.Node {
		if door != l.Node && touched(s[first:], owner, l) {
			m.Touched++
		}
		return
	}
	m.Owned++
	i := slices.IndexFunc(s[first:], func(o *Op) bool { return o.Outcome == OK && o.Value != l.Node })
	if i < 0 {
		return
	}
	m.Moved++
	took := s[first+i].End - l.At
	if door == l.Node || slices.ContainsFunc(s[first:first+i], func(o *Op) bool { return o.Node == l.Node }) {
		m.AtItsDoor = append(m.AtItsDoor, took)
	} else {
		m.Elsewhere = append(m.Elsewhere, took)
	}
	if d, _ := e.served(s, l); d >= 0 {
		m.Waited = append(m.Waited, d)
	}
}

// socket counts the session's WebSocket if it broke with the loss.
func (m *Moved) socket(since []*Op, last *Op, l Loss) {
	if last.Kind != Message || last.Value != l.Node && last.Node != l.Node {
		return
	}
	broke := slices.IndexFunc(since, func(o *Op) bool { return o.Outcome != OK })
	if broke < 0 {
		return
	}
	m.Sockets++
	if slices.ContainsFunc(since[broke:], func(o *Op) bool { return o.Kind == Message && o.Outcome == OK && o.Detail != Opened }) {
		m.Opened++
	}
}

// touched reports whether what a session did since shows the loss of a node that it has
// nothing to do with. What it does at the lost door later is its own choice.
func touched(since []*Op, owner string, l Loss) bool {
	return slices.ContainsFunc(since, func(o *Op) bool {
		return o.Node != l.Node && (o.Outcome != OK || o.Value != owner)
	})
}

// Kept is how the sessions of nodes fared that were not lost while others were.
type Kept struct {
	Sessions int           // of the node at the time
	Asked    int           // by them, at its own door
	Failed   int           // of those
	Last     time.Duration // when the last of those was answered
	Left     int           // sessions that another node answered since
	Taken    int           // sessions of lost nodes that it has answered since
}

// KeptBy looks at what the sessions of a node did since a time, at the node's own door.
func KeptBy(ops []Op, node string, since time.Duration) Kept {
	e := newEvidence(ops, Input{Losses: []Loss{}})
	var k Kept
	for _, s := range e.sessions {
		owner := ""
		left, taken := false, false
		for _, o := range s {
			switch {
			case o.Begin < since:
				if o.Outcome == OK {
					owner = o.Value
				}
				continue
			case o.Outcome == OK && owner == node && o.Value != node:
				left = true
			case o.Outcome == OK && owner != node && o.Value == node:
				taken = true
			}
			if owner == node && o.Node == node {
				k.Asked++
				if o.Outcome != OK {
					k.Failed++
				} else {
					k.Last = max(k.Last, o.End)
				}
			}
		}
		if owner == node {
			k.Sessions++
		}
		if left {
			k.Left++
		}
		if taken {
			k.Taken++
		}
	}
	return k
}
