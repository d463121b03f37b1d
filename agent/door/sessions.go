package door

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// SessionInfo is one session of an engine beside this agent, as it was when asked.
type SessionInfo struct {
	ID         SessionID
	Engine     peer.EngineID
	Created    time.Time
	LastSeen   time.Time
	Documents  []string // sorted
	Client     string   // the user's address
	User       string
	InFlight   int // requests being answered
	WebSockets int
}

// Sessions lists the sessions of the engines beside this agent for which keep says
// yes, oldest first; a nil keep is all of them. keep must not call the door.
func (d *Door) Sessions(keep func(SessionInfo) bool) []SessionInfo {
	var out []SessionInfo
	d.owner.table.each(func(r *row) {
		s := SessionInfo{
			ID: r.id, Engine: r.engine.id, Created: d.wallTime(r.created), LastSeen: d.wallTime(r.seen),
			Documents: slices.Sorted(slices.Values(r.documents)), User: r.user,
			InFlight: int(r.inFlight) - len(r.sockets), WebSockets: len(r.sockets),
		}
		if r.addr.IsValid() {
			s.Client = r.addr.String()
		}
		if keep == nil || keep(s) {
			out = append(out, s)
		}
	})
	slices.SortFunc(out, func(a, b SessionInfo) int {
		return cmp.Or(a.Created.Compare(b.Created), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out
}

// CloseSession ends a session of an engine beside this agent: its WebSockets are
// closed, requests under way are finished, and its cookie opens a new session. It
// returns false when there is no such session here.
func (d *Door) CloseSession(id SessionID) bool {
	open, ok := d.owner.table.end(id, d.cfg.Now().UnixNano())
	closeSockets(open, closeServiceRestart)
	return ok
}

// Loads are the owner's counts for load reports, sorted by engine. Permille is -1:
// what an engine says of itself is not the door's to know.
func (d *Door) Loads() []peer.EngineLoad {
	out := make([]peer.EngineLoad, 0, len(d.owner.engines))
	for _, e := range d.owner.engines {
		out = append(out, e.load())
	}
	slices.SortFunc(out, func(a, b peer.EngineLoad) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Counters are totals since Open, and what is under way now.
type Counters struct {
	Requests   uint64 // of users, done
	Moves      uint64
	Placements uint64
	InFlight   int // of users and of other doors, WebSockets included
	WebSockets int
}

// Counters reads the door's counters.
func (d *Door) Counters() Counters {
	t := &d.metrics.total
	return Counters{
		Requests: t.requests.Load(), Moves: t.moves.Load(), Placements: t.placements.Load(),
		InFlight: d.gate.inside(), WebSockets: d.sockets.count(),
	}
}
