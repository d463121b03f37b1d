package door

import (
	"context"
	"net/netip"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// opening says how a session comes to be open; "" means that it should be already.
type opening string

const (
	openNew  opening = "new"
	openMove opening = "move" // its engine or owner was lost
	openKey  opening = "key"  // named by a client's key: open if it is not
)

// claim is what a request tells the owner of its session.
type claim struct {
	session   SessionID
	engine    string // name, of the owner's
	open      opening
	age       time.Duration // of the session
	document  string
	client    netip.Addr
	door      string  // node name of the door where the user arrived
	movedFrom string  // node name
	decided   stamp   // by that door; 0 when the engine was not chosen just now
	from      peer.ID // the agent that sent the claim; it does not travel
}

// owner keeps the sessions of the engines beside this agent. It alone counts them.
type owner struct {
	engines  map[string]*ownedEngine
	table    *table
	admit    Admit
	state    func() peer.State // the operator's wish for this node
	settings func() *Settings
	now      func() time.Time
}

// lease is one request under way. end or cancel must be called once.
type lease struct {
	o   *owner
	e   *ownedEngine
	row *row
	// opened says that this request opened the session.
	opened bool
}

func (l *lease) end() { l.o.table.leave(l.row, l.o.now().UnixNano()) }

// cancel is end for a request that no engine has seen.
func (l *lease) cancel() {
	if l.opened {
		l.o.table.cancel(l.row, l.o.now().UnixNano())
		return
	}
	l.end()
}

// begin counts a request in and opens its session where the claim says so. A
// session that should be open and is unknown was opened before this agent was
// restarted: it is adopted, for its engine may still have it.
func (o *owner) begin(ctx context.Context, c claim) (*lease, *failure) {
	e := o.engines[c.engine]
	if e == nil {
		return nil, refused(refusedNotHere)
	}
	if f := o.dead(e); f != nil {
		return nil, f
	}
	now := o.now().UnixNano()
	r, ended := o.table.enter(c.session, e, now)
	opened := r == nil
	switch {
	case r != nil:
	case ended && c.open == "":
		return nil, refused(refusedEnded)
	default:
		var f *failure
		if r, f = o.open(ctx, e, c); f != nil {
			return nil, f
		}
	}
	o.table.note(r, c.document, c.client)
	return &lease{o, e, r, opened}, nil
}

// dead says since when an engine has been dead, or nil when it is not.
func (o *owner) dead(e *ownedEngine) *failure {
	health, since := e.Health()
	if health != peer.Dead {
		return nil
	}
	return &failure{refused: refusedDead, deadFor: o.now().Sub(since)}
}

func (o *owner) open(ctx context.Context, e *ownedEngine, c claim) (*row, *failure) {
	if c.open != openNew && c.open != openKey && o.tooOld(c.age) {
		return nil, refused(refusedEnded)
	}
	limit := 0 // what is adopted is there already, full or not
	if c.open != "" {
		if reason := o.closed(e); reason != "" {
			return nil, refused(reason)
		}
		limit = o.limit(e)
	}
	if !e.reserve(c.session, limit, o.now().UnixNano()) {
		return nil, refused(refusedFull)
	}
	defer e.release(c.session)
	if o.admit != nil {
		err := o.admit(ctx, Opening{
			Session: c.session, Engine: e.id, Document: c.document, Client: c.client.String(),
			Known: c.open == "" || c.open == openMove,
		})
		if err != nil {
			return nil, &failure{refused: refusedSeat, err: err}
		}
	}
	now := o.now().UnixNano()
	fresh := &row{id: c.session, engine: e, door: c.from, decided: c.decided, created: now - int64(c.age), seen: now, addr: c.client}
	return o.table.open(fresh, now), nil
}

// tooOld reports whether a session of that age is over. The age is what a door makes of its
// own clock and of that of whichever door opened the session, either of which may be wrong: so
// it is asked only for sessions that are not known here.
func (o *owner) tooOld(age time.Duration) bool {
	life := o.settings().Session.MaxLife
	return life > 0 && age > life
}

// closed says why an engine opens no sessions, or "".
func (o *owner) closed(e *ownedEngine) refusal {
	health, _ := e.Health()
	switch {
	case o.state() != peer.StateActive:
		return refusedDraining
	case health == peer.Dead:
		return refusedDead
	case health != peer.Healthy:
		return refusedUnhealthy
	}
	return ""
}

// limit is the most sessions that an engine may hold, 0 for any number.
func (o *owner) limit(e *ownedEngine) int {
	own, all := e.MaxSessions(), o.settings().Place.MaxSessionsPerEngine
	if own > 0 && (all == 0 || own < all) {
		return own
	}
	return all
}

// forget drops the sessions of engines that have been dead for so long that their
// users are sent elsewhere, and returns the WebSockets to close.
func (o *owner) forget() []socket {
	var over []socket
	for _, e := range o.engines {
		if f := o.dead(e); f != nil && f.deadFor >= o.settings().Place.FailAfter {
			over = append(over, o.table.drop(e)...)
		}
	}
	return over
}

// asking is a door with what it has decided itself.
type asking struct {
	door  peer.ID
	since stamp // later decisions it counts itself
}

// offer answers another door, or this one, that asks for a place: it keeps one
// where it says yes. known is what the newest report says of the machine.
func (o *owner) offer(id SessionID, name string, known placement.Load, by asking) placement.Answer {
	e := o.engines[name]
	if e == nil {
		return placement.Answer{Reason: placement.NodeUnknown}
	}
	a := placement.Answer{Engine: e.id, Load: known}
	now := o.now().UnixNano()
	switch o.closed(e) {
	case refusedDraining:
		a.Reason = placement.NodeDraining
	case refusedDead:
		a.Reason = placement.Dead
	case refusedUnhealthy:
		a.Reason = placement.Unhealthy
	default:
		a.Load.Sessions, a.Load.InFlight = e.settled(by.door, by.since, now), e.inFlight.average(now)
		if a.OK = e.reserve(id, o.limit(e), now); !a.OK {
			a.Reason = placement.Full
		}
	}
	return a
}

// release gives back a place that was kept for a session at an engine.
func (o *owner) release(id SessionID, name string) {
	if e := o.engines[name]; e != nil {
		e.release(id)
	}
}
