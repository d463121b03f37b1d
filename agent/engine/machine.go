package engine

import (
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// evidence is one thing that was seen of an engine.
type evidence int

const (
	sawRefusal    evidence = iota // nothing listens there
	sawConnection                 // a connection was accepted
	sawGoodProbe                  // the engine answered as it should
	sawBadProbe                   // it answered badly, too late or not at all
)

// machine is what is known of an engine's health. It is a value: next returns
// the one that follows.
type machine struct {
	health   peer.Health
	since    time.Time // when health last changed
	err      string    // why the last probe or dial failed; empty after a good probe
	probed   bool      // there has been a verdict by a probe
	refusals int       // in a row; connections reset it
	fails    int       // bad probes in a row
	passes   int       // good probes in a row
}

// refusalsToDie is how many refused connections in a row are death. One may be a
// full backlog on systems that answer it with a reset.
const refusalsToDie = 2

// newMachine is an engine of which nothing is known: it takes no sessions yet.
func newMachine(now time.Time) machine {
	return machine{health: peer.Unhealthy, since: now, err: "not probed yet"}
}

// next is the state machine of the package comment.
func (m machine) next(saw evidence, err string, now time.Time, t Timing) machine {
	switch saw {
	case sawRefusal:
		m.passes, m.err = 0, err
		m.refusals = min(m.refusals+1, refusalsToDie)
		if m.refusals == refusalsToDie {
			m = m.become(peer.Dead, now)
		}
	case sawConnection:
		m.refusals = 0
		if m.health == peer.Dead {
			m = m.become(peer.Unhealthy, now)
		}
	case sawGoodProbe:
		m.fails, m.refusals, m.err = 0, 0, ""
		m.passes = min(m.passes+1, t.PassThreshold)
		// Where nothing bad was ever seen, one good probe is enough to start.
		if m.passes >= t.PassThreshold || !m.probed {
			m = m.become(peer.Healthy, now)
		} else if m.health == peer.Dead {
			m = m.become(peer.Unhealthy, now)
		}
		m.probed = true
	case sawBadProbe:
		m.passes, m.err, m.probed = 0, err, true
		m.fails = min(m.fails+1, t.FailThreshold)
		if m.fails >= t.FailThreshold && m.health == peer.Healthy {
			m = m.become(peer.Unhealthy, now)
		}
	}
	return m
}

func (m machine) become(h peer.Health, now time.Time) machine {
	if m.health != h {
		m.health, m.since, m.passes = h, now, 0
	}
	return m
}
