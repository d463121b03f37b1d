package door

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

const (
	tableShards = 64

	// maxRowDocuments bounds the documents kept of one session.
	maxRowDocuments = 16

	// maxEnded bounds the memory of sessions that ended, a shard.
	maxEnded = 1024
)

// row is one session of an engine beside this agent. It belongs to its shard's
// lock; id, engine, door, decided and created never change.
type row struct {
	id        SessionID
	engine    *ownedEngine
	door      peer.ID // that decided for this engine, with decided; may be ""
	decided   stamp
	created   int64 // nanoseconds of the steady clock
	seen      int64
	inFlight  int32
	closing   bool // its life is over; it goes when the last request has
	addr      netip.Addr
	user      string
	documents []string // interned by the engine
	sockets   []socket // open WebSockets, each of which is in flight too
}

// socket is an open WebSocket that can be told to close.
type socket interface {
	Shutdown(code uint16, grace time.Duration)
}

// table holds the sessions of all engines beside this agent.
type table struct{ shards [tableShards]shard }

type shard struct {
	mu    sync.Mutex
	rows  map[SessionID]*row
	ended map[SessionID]int64 // when; so that a cookie does not revive its session
	order []SessionID         // of ended, oldest first
}

func newTable() *table {
	t := new(table)
	for i := range t.shards {
		t.shards[i].rows = map[SessionID]*row{}
		t.shards[i].ended = map[SessionID]int64{}
	}
	return t
}

func (t *table) shard(id SessionID) *shard { return &t.shards[id[0]%tableShards] }

// enter counts a request of a session that exists on e. It returns nil when there
// is none, and whether it is known to have ended.
func (t *table) enter(id SessionID, e *ownedEngine, now int64) (r *row, ended bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.rows[id]
	if r == nil || r.engine != e {
		_, ended = s.ended[id]
		return nil, ended
	}
	if r.closing {
		return nil, true
	}
	r.enter(now)
	return r, false
}

// enterKnown is enter for a request of which nothing needs to be noted; noted says whether
// that is so. r is nil when enter has to look again.
func (t *table) enterKnown(id SessionID, e *ownedEngine, now int64, addr clientAddr, document []byte) (r *row, noted bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	r = s.rows[id]
	if r == nil || r.engine != e || r.closing {
		return nil, false
	}
	r.enter(now)
	noted = addr.is(r.addr) && (len(document) == 0 || len(r.documents) >= maxRowDocuments)
	for i := 0; !noted && i < len(r.documents); i++ {
		noted = addr.is(r.addr) && r.documents[i] == string(document)
	}
	return r, noted
}

func (r *row) enter(now int64) {
	r.inFlight++
	r.seen = max(r.seen, now)
	r.engine.inFlight.add(1, now)
}

// open inserts a row, or takes the one that another request opened meanwhile, and
// counts a request of it. A row of another engine of this node gives way: the
// session has moved.
func (t *table) open(fresh *row, now int64) *row {
	s := t.shard(fresh.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.rows[fresh.id]; old != nil {
		if old.engine == fresh.engine && !old.closing {
			old.enter(now)
			return old
		}
		s.remove(old)
	}
	s.rows[fresh.id] = fresh
	fresh.engine.opened(fresh, now)
	fresh.enter(now)
	return fresh
}

// leave ends what enter or open began.
func (t *table) leave(r *row, now int64) {
	s := t.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.inFlight--
	r.seen = max(r.seen, now)
	r.engine.inFlight.add(-1, now)
	if r.closing && r.inFlight == 0 && s.rows[r.id] == r {
		s.remove(r)
		s.remember(r.id, now)
	}
}

// cancel is leave for a request that did not reach its engine. A session that it
// opened, and nobody else has used, never was.
func (t *table) cancel(r *row, now int64) {
	s := t.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.inFlight--
	r.engine.inFlight.add(-1, now)
	if r.inFlight == 0 && s.rows[r.id] == r {
		s.remove(r)
	}
}

// drop forgets the sessions of an engine whose memory is gone, and returns their
// WebSockets. They may come back.
func (t *table) drop(e *ownedEngine) []socket {
	var over []socket
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, r := range s.rows {
			if r.engine == e {
				over = append(over, r.sockets...)
				s.remove(r)
			}
		}
		s.mu.Unlock()
	}
	return over
}

// note adds what a request told of its session.
func (t *table) note(r *row, document string, addr netip.Addr) {
	s := t.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if addr.IsValid() {
		r.addr = addr
	}
	if document == "" || s.rows[r.id] != r || len(r.documents) >= maxRowDocuments || slices.Contains(r.documents, document) {
		return
	}
	r.documents = append(r.documents, r.engine.hold(document))
}

// attach adds a WebSocket to a row; it returns false when the session is over.
func (t *table) attach(r *row, w socket, now int64) bool {
	s := t.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.closing || s.rows[r.id] != r {
		return false
	}
	r.sockets = append(r.sockets, w)
	r.engine.inFlight.add(-1, now) // an idle WebSocket is no work
	return true
}

func (t *table) detach(r *row, w socket, now int64) {
	s := t.shard(r.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(r.sockets, w); i >= 0 {
		r.sockets = slices.Delete(r.sockets, i, i+1)
		r.engine.inFlight.add(1, now) // until leave
	}
}

// end removes a session at once and returns its WebSockets, for the caller to
// close. Requests under way go on. It returns false when there is no such session.
func (t *table) end(id SessionID, now int64) ([]socket, bool) {
	s := t.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remember(id, now)
	r := s.rows[id]
	if r == nil {
		return nil, false
	}
	s.remove(r)
	return slices.Clone(r.sockets), true
}

// sweep removes what was idle for too long or lived too long, and returns the
// WebSockets of sessions whose life is over while they are in use.
func (t *table) sweep(now int64, idle, life time.Duration) []socket {
	var over []socket
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, r := range s.rows {
			switch {
			case life > 0 && now-r.created > int64(life):
				if r.inFlight > 0 {
					if !r.closing {
						over = append(over, r.sockets...)
					}
					r.closing = true
					continue
				}
			case r.inFlight > 0 || idle <= 0 || now-r.seen <= int64(idle):
				continue
			}
			s.remove(r)
			s.remember(r.id, now)
		}
		s.mu.Unlock()
	}
	return over
}

// remove takes r out of the shard and of its engine's counts.
func (s *shard) remove(r *row) {
	delete(s.rows, r.id)
	r.engine.ended(r)
}

// remember keeps the IDs of ended sessions, the newest maxEnded of them.
func (s *shard) remember(id SessionID, now int64) {
	if _, ok := s.ended[id]; !ok {
		s.order = append(s.order, id)
	}
	s.ended[id] = now
	for len(s.order) > maxEnded {
		delete(s.ended, s.order[0])
		s.order = s.order[1:]
	}
}

// each calls f with every row, a shard at a time and under its lock.
func (t *table) each(f func(*row)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, r := range s.rows {
			f(r)
		}
		s.mu.Unlock()
	}
}
