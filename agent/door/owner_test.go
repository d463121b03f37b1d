package door

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// stubEngine is an engine that is never dialled.
type stubEngine struct {
	Engine
	health peer.Health
	since  time.Time
	max    int
}

func (e *stubEngine) Name() string                     { return "app" }
func (e *stubEngine) Health() (peer.Health, time.Time) { return e.health, e.since }
func (e *stubEngine) MaxSessions() int                 { return e.max }

// The owner decides by itself, whatever another door believed when it placed.
func TestOwnerDecides(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	state := peer.StateActive
	stub := &stubEngine{health: peer.Healthy, since: now, max: 2}
	e := &ownedEngine{Engine: stub, reserved: map[SessionID]int64{}, held: map[string]*held{}}
	o := &owner{
		engines: map[string]*ownedEngine{"app": e}, table: newTable(), settings: DefaultSettings,
		state: func() peer.State { return state }, now: func() time.Time { return now },
	}
	begin := func(id byte, open opening) refusal {
		l, f := o.begin(context.Background(), claim{session: SessionID{id}, engine: "app", open: open, client: netip.MustParseAddr("10.0.0.1")})
		if f != nil {
			return f.refused
		}
		l.end()
		return "served"
	}
	steps := []struct {
		name   string
		before func()
		id     byte
		open   opening
		want   refusal
	}{
		{"first", nil, 1, openNew, "served"},
		{"again", nil, 1, "", "served"},
		{"opened twice is opened once", nil, 1, openNew, "served"},
		{"second", nil, 2, openMove, "served"},
		{"third is too many, asked or not", nil, 3, openNew, refusedFull},
		{"of a client's key", nil, 4, openKey, refusedFull},
		{"what was open before a restart is taken all the same", nil, 5, "", "served"},
		{"draining: those who are in", func() { state = peer.StateDraining; stub.max = 0 }, 1, "", "served"},
		{"draining: a new one", nil, 6, openNew, refusedDraining},
		{"draining: one that moves", nil, 6, openMove, refusedDraining},
		{"draining: of a client's key that is in", nil, 2, openKey, "served"},
		{"standby", func() { state = peer.StateStandby }, 6, openNew, refusedDraining},
		{"unhealthy: those who are in", func() { state = peer.StateActive; stub.health = peer.Unhealthy }, 1, "", "served"},
		{"unhealthy: a new one", nil, 6, openNew, refusedUnhealthy},
		{"dead: those who are in", func() { stub.health = peer.Dead }, 1, "", refusedDead},
		{"back: those who are in", func() { stub.health = peer.Healthy }, 1, "", "served"},
		{"ended: its cookie", func() { o.table.end(SessionID{1}, now.UnixNano()) }, 1, "", refusedEnded},
		{"ended: of a client's key", nil, 1, openKey, "served"},
	}
	for _, s := range steps {
		if s.before != nil {
			s.before()
		}
		if got := begin(s.id, s.open); got != s.want {
			t.Errorf("%s: %s, want %s", s.name, got, s.want)
		}
	}
	if _, f := o.begin(context.Background(), claim{engine: "other"}); f == nil || f.refused != refusedNotHere {
		t.Errorf("another engine: %+v", f)
	}
	if len(e.reserved) != 0 || e.inFlight.now() != 0 {
		t.Errorf("left: %d places kept, %d in flight", len(e.reserved), e.inFlight.now())
	}
	if n := e.sessions; n != 3 {
		t.Errorf("%d sessions, want 1, 2 and 5", n)
	}
}

// Of a session that it does not know, an owner believes the age that it is told.
func TestTooOld(t *testing.T) {
	for _, c := range []struct {
		name string
		open opening
		age  time.Duration
		life time.Duration
		want refusal
	}{
		{"young", "", time.Minute, time.Hour, "served"},
		{"as old as it may be", "", time.Hour, time.Hour, "served"},
		{"too old", "", time.Hour + time.Second, time.Hour, refusedEnded},
		{"too old to move", openMove, time.Hour + time.Second, time.Hour, refusedEnded},
		{"old, and there is no limit", "", 1000 * time.Hour, 0, "served"},
		{"new", openNew, 2 * time.Hour, time.Hour, "served"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := &ownedEngine{Engine: &stubEngine{health: peer.Healthy}, reserved: map[SessionID]int64{}, held: map[string]*held{}}
			set := DefaultSettings()
			set.Session.MaxLife = c.life
			o := &owner{
				engines: map[string]*ownedEngine{"app": e}, table: newTable(), settings: func() *Settings { return set },
				state: func() peer.State { return peer.StateActive }, now: time.Now,
			}
			got := refusal("served")
			if _, f := o.begin(context.Background(), claim{session: SessionID{1}, engine: "app", open: c.open, age: c.age}); f != nil {
				got = f.refused
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// A session that was opened for a request that no engine saw never was.
func TestCancelledOpening(t *testing.T) {
	e := &ownedEngine{Engine: &stubEngine{health: peer.Healthy}, reserved: map[SessionID]int64{}, held: map[string]*held{}}
	o := &owner{
		engines: map[string]*ownedEngine{"app": e}, table: newTable(), settings: DefaultSettings,
		state: func() peer.State { return peer.StateActive }, now: time.Now,
	}
	c := claim{session: SessionID{1}, engine: "app", open: openNew, document: "sales"}
	first, _ := o.begin(context.Background(), c)
	second, _ := o.begin(context.Background(), c)
	first.cancel()
	if l := e.load(); l.Sessions != 1 || l.InFlight != 1 || len(l.Documents) != 1 {
		t.Errorf("another request uses it: %+v", l)
	}
	second.end()
	if l := e.load(); l.Sessions != 1 || l.InFlight != 0 {
		t.Errorf("after it: %+v", l)
	}
	c.session = SessionID{2}
	third, _ := o.begin(context.Background(), c)
	third.cancel()
	if l := e.load(); l.Sessions != 1 || l.InFlight != 0 {
		t.Errorf("after one that was cancelled: %+v", l)
	}
}

// Of a session's documents as much is kept as memory allows, and all is given back.
func TestDocumentsOfSessions(t *testing.T) {
	e := &ownedEngine{Engine: &stubEngine{}, reserved: map[SessionID]int64{}, held: map[string]*held{}}
	tb := newTable()
	for s := range byte(3) {
		r := tb.open(&row{id: SessionID{s}, engine: e}, 1)
		for d := range 40 {
			tb.note(r, string(rune('a'+s))+"-"+string(rune('a'+d)), netip.Addr{})
			tb.note(r, "shared", netip.Addr{})
		}
	}
	l := e.load()
	if len(l.Documents) != peer.MaxDocuments || len(e.held) != 3*(maxRowDocuments-1)+1 {
		t.Errorf("%d documents reported, %d held", len(l.Documents), len(e.held))
	}
	if e.held["shared"] == nil || e.held["shared"].sessions != 3 {
		t.Errorf("shared: %+v", e.held["shared"])
	}
	tb.drop(e)
	if len(e.held) != 0 || e.sessions != 0 {
		t.Errorf("left: %d documents, %d sessions", len(e.held), e.sessions)
	}
}

// An offer tells of work that lasts, not of the requests of this instant.
func TestOfferTellsAverages(t *testing.T) {
	now := testTime
	e := &ownedEngine{Engine: &stubEngine{health: peer.Healthy}, reserved: map[SessionID]int64{}, held: map[string]*held{}}
	o := &owner{
		engines: map[string]*ownedEngine{"app": e}, table: newTable(), settings: DefaultSettings,
		state: func() peer.State { return peer.StateActive }, now: func() time.Time { return now },
	}
	e.inFlight.add(40, now.UnixNano())
	if a := o.offer(SessionID{1}, "app", placement.Load{CPUPermille: 7}, asking{}); !a.OK || a.Load.InFlight != 0 || a.Load.CPUPermille != 7 {
		t.Errorf("at once: %+v", a)
	}
	now = now.Add(time.Minute)
	if a := o.offer(SessionID{1}, "app", placement.Load{}, asking{}); a.Load.InFlight != 40 {
		t.Errorf("after a minute: %+v", a)
	}
}
