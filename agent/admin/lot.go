package admin

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/fsm"
)

// Requests that wait for news are taken from net/http, which would keep two goroutines
// and some 20 KiB for each, and parked on a lot: one goroutine that reads from the
// connection, which costs some 5 KiB and notices a caller who goes.
//
//	handler -> detach -> wait -------> handler -> answer -> idle -> net/http
//	                      ^                                  |
//	              state changes: the read ends      first byte of the next request
//
// Few are awake at a time, so that those who write are not behind ten thousand readers.
type lot struct {
	view     func() fsm.View
	base     context.Context // of what is detached
	turns    chan struct{}   // one for each caller who was woken and is not done
	came     chan struct{}   // somebody has begun to wait
	returned *returned       // leads back to net/http
	slots    *slots
	lane     *fastLane        // where connections go on; nil: with net/http
	parked   prometheus.Gauge // spots in the groups
	wg       sync.WaitGroup   // detached requests

	mu     sync.Mutex
	closed bool
	groups map[fsm.Tables]*group
}

// group are those who wait for the same tables.
type group struct {
	seen  uint64 // Touched of the tables when they were looked through last
	spots map[*spot]struct{}
}

const maxAwake = 64

func newLot(base context.Context, srv *Server, sl *slots) *lot {
	return &lot{
		view: func() fsm.View { return srv.cfg.Backend.View() }, base: base, parked: srv.stats.parked, turns: make(chan struct{}, maxAwake), came: make(chan struct{}, 1), returned: newReturned(sl.Addr()),
		slots: sl, groups: map[fsm.Tables]*group{},
	}
}

// run wakes whom news concern, until stop.
func (l *lot) run(stop <-chan struct{}) {
	for {
		var newer <-chan struct{}
		if l.awaited() {
			v := l.view()
			newer = v.Newer()
			for _, s := range l.due(v) {
				select {
				case l.turns <- struct{}{}:
				case <-stop:
					return
				}
				if !l.wake(s) {
					<-l.turns
				}
			}
		}
		select {
		case <-newer:
		case <-l.came:
		case <-stop:
			return
		}
	}
}

// awaited reports whether anybody waits for news; while nobody does, writes cost nothing
// here.
func (l *lot) awaited() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for tables := range l.groups {
		if tables != 0 {
			return true
		}
	}
	return false
}

// due are those who wait for less than v has.
func (l *lot) due(v fsm.View) []*spot {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*spot
	for tables, g := range l.groups {
		now := v.Touched(tables)
		if now == g.seen {
			continue
		}
		g.seen = now
		for s := range g.spots {
			if s.after < now {
				out = append(out, s)
			}
		}
	}
	return out
}

// wake ends a wait; false when it has ended otherwise. The turn is the spot's.
func (l *lot) wake(s *spot) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.takeOut(s) {
		return false
	}
	s.woken, s.turn = true, true
	_ = s.conn.SetReadDeadline(past()) // fails on a closed connection, whose read has ended
	return true
}

// takeOut reports whether the spot was there. The lot is locked.
func (l *lot) takeOut(s *spot) bool {
	g := l.groups[s.tables]
	if g == nil {
		return false
	}
	_, there := g.spots[s]
	if delete(g.spots, s); there {
		l.parked.Dec()
	}
	if len(g.spots) == 0 {
		delete(l.groups, s.tables)
	}
	return there
}

// enter makes room for a detached request; false when the server stops.
func (l *lot) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.wg.Add(1)
	return true
}

// shut ends all waits, for good, and returns when nobody is left. Those who are not done
// when ctx ends lose their connections.
func (l *lot) shut(ctx context.Context) {
	l.mu.Lock()
	l.closed = true
	for _, g := range l.groups {
		for s := range g.spots {
			_ = s.conn.SetReadDeadline(past())
			l.parked.Dec()
		}
	}
	l.groups = map[fsm.Tables]*group{}
	l.mu.Unlock()
	_ = l.returned.Close()
	done := make(chan struct{})
	go func() {
		l.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		l.slots.closeAll()
		<-done
	}
}

func past() time.Time { return time.Unix(1, 0) }

// wakeup is why a wait has ended.
type wakeup int

const (
	wokeByNews wakeup = iota
	wokeByTime
	wokeByCaller // who went, or sent something
	wokeByStop
)

// spot is a detached request's place on the lot. It belongs to the request's goroutine;
// the lot's lock guards what is below mu.
type spot struct {
	lot  *lot
	conn net.Conn
	next []byte // read already, of the next request

	tables fsm.Tables // below the lot's lock, from here on
	after  uint64
	woken  bool
	turn   bool
}

// wait returns when one of the tables has changed after that revision, or d is over.
// No tables: only time, or the caller, ends it.
func (s *spot) wait(tables fsm.Tables, after uint64, d time.Duration) wakeup {
	s.giveTurn()
	if len(s.next) > 0 {
		return wokeByCaller
	}
	if !s.register(tables, after, d) {
		return wokeByStop
	}
	if s.lot.view().Touched(tables) > after && tables != 0 {
		s.lot.mu.Lock()
		s.lot.takeOut(s)
		s.lot.mu.Unlock()
		_ = s.conn.SetReadDeadline(time.Time{})
		return wokeByNews
	}
	one := make([]byte, 1)
	n, err := s.conn.Read(one)
	s.next = one[:n]
	s.lot.mu.Lock()
	s.lot.takeOut(s)
	woken, closed := s.woken, s.lot.closed
	s.lot.mu.Unlock()
	_ = s.conn.SetReadDeadline(time.Time{})
	switch {
	case closed:
		return wokeByStop
	case woken:
		return wokeByNews
	case n == 0 && isTimeout(err):
		return wokeByTime
	}
	return wokeByCaller
}

func (s *spot) register(tables fsm.Tables, after uint64, d time.Duration) bool {
	l := s.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	s.tables, s.after, s.woken = tables, after, false
	g := l.groups[tables]
	if g == nil {
		g = &group{seen: l.view().Touched(tables), spots: map[*spot]struct{}{}}
		l.groups[tables] = g
	}
	g.spots[s] = struct{}{}
	l.parked.Inc()
	if tables != 0 {
		select {
		case l.came <- struct{}{}:
		default: // it is told already
		}
	}
	_ = s.conn.SetReadDeadline(time.Now().Add(d))
	return true
}

// giveTurn lets another be woken: what is left to do may take as long as the caller
// likes, or takes no time.
func (s *spot) giveTurn() {
	s.lot.mu.Lock()
	had := s.turn
	s.turn = false
	s.lot.mu.Unlock()
	if had {
		<-s.lot.turns
	}
}
