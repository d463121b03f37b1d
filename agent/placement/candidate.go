package placement

import (
	"slices"

	"github.com/ushercluster/usher/agent/peer"
)

// DefaultWeight is the weight of an engine for which nothing was set.
const DefaultWeight = 100

// Candidate is one engine as a door knows it when it places a session: the newest
// report of its node, the operator's settings, and what the door did since.
type Candidate struct {
	Engine   peer.EngineID
	NodeName string
	Weight   int // share of new sessions against other engines; below 1 means DefaultWeight
	Priority int // orders standby nodes: the lowest is promoted first (see Promote)
	State    peer.State
	Status   peer.Status
	Health   peer.Health
	Load     Load
	// Own counts the sessions that this door opened on the engine and that the
	// report does not hold yet.
	Own           int
	MaxSessions   int  // 0 for no limit
	HoldsDocument bool // the report names the document that is asked for
	Local         bool // beside this door
	Tags          []string
}

// Load is what a report says of an engine and of the machine under it.
type Load struct {
	Sessions      int    // bound to the engine
	InFlight      int    // requests being answered
	Permille      int    // the engine's own opinion, 0 to 1000; negative when it has none
	CPUPermille   int    // of all cores of the machine, 0 to 1000
	MemFreeBytes  uint64 // both zero when unknown
	MemTotalBytes uint64
}

// Request is what a session asks of an engine.
type Request struct {
	Tag     string          // only engines of nodes that carry it; "" for any
	Exclude []peer.EngineID // tried already, or lost
}

// Reason says why an engine may not take a new session; "" when it may. The
// values are stable: metrics and `route explain` show them.
type Reason string

// Reasons.
const (
	Excluded     Reason = "excluded"      // the request named it as tried or lost
	NodeDraining Reason = "node-draining" // keeps its sessions, takes no new ones
	NodeStandby  Reason = "node-standby"
	NodeUnknown  Reason = "node-unknown" // a state that this version does not know
	NodeSuspect  Reason = "node-suspect" // gossip missed it once
	NodeLost     Reason = "node-lost"    // failed, left, or never seen
	Unhealthy    Reason = "engine-unhealthy"
	Dead         Reason = "engine-dead"
	Full         Reason = "engine-full"
	TagMissing   Reason = "tag-missing"
)

// Eligible reports whether c may take a new session for r, and if not why.
func Eligible(c Candidate, r Request) (bool, Reason) {
	reason := ineligible(c, r)
	return reason == "", reason
}

func ineligible(c Candidate, r Request) Reason {
	switch c.State {
	case peer.StateActive:
	case peer.StateDraining:
		return NodeDraining
	case peer.StateStandby:
		return NodeStandby
	default:
		return NodeUnknown
	}
	switch c.Status {
	case peer.StatusAlive:
	case peer.StatusSuspect:
		return NodeSuspect
	default:
		return NodeLost
	}
	switch c.Health {
	case peer.Healthy:
	case peer.Dead:
		return Dead
	default:
		return Unhealthy
	}
	switch {
	case slices.Contains(r.Exclude, c.Engine):
		return Excluded
	case r.Tag != "" && !slices.Contains(c.Tags, r.Tag):
		return TagMissing
	case c.MaxSessions > 0 && c.Load.Sessions+c.Own >= c.MaxSessions:
		return Full
	}
	return ""
}

// Filter returns the candidates that may take r, in the order given. It never
// changes cs.
func Filter(cs []Candidate, r Request) []Candidate {
	out := make([]Candidate, 0, len(cs))
	for _, c := range cs {
		if ineligible(c, r) == "" {
			out = append(out, c)
		}
	}
	return out
}

// Promote names the standby node that should become active when an active one was
// lost: the alive one with a healthy engine and the lowest priority, then the
// lowest ID. It returns "" when there is none.
func Promote(cs []Candidate) peer.ID {
	var best *Candidate
	for i := range cs {
		c := &cs[i]
		if c.State != peer.StateStandby || c.Status != peer.StatusAlive || c.Health != peer.Healthy {
			continue
		}
		if best == nil || c.Priority < best.Priority ||
			c.Priority == best.Priority && c.Engine.Node() < best.Engine.Node() {
			best = c
		}
	}
	if best == nil {
		return ""
	}
	return best.Engine.Node()
}

func weight(w int) int64 {
	if w < 1 {
		return DefaultWeight
	}
	return int64(w)
}
