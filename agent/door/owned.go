package door

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// reservationLife is how long a place is kept for a session that was asked for.
// The door that asked two engines uses one; the other's place simply lapses.
const reservationLife = 2 * time.Second

// ownedEngine is an engine beside this agent with what the owner counts of it.
type ownedEngine struct {
	Engine
	id       peer.EngineID
	pool     *upstream.Pool
	inFlight work

	mu       sync.Mutex
	sessions int                 // rows in the table
	fresh    []freshRow          // those opened of late, oldest first
	reserved map[SessionID]int64 // until when, Unix nanoseconds
	held     map[string]*held    // documents by key
}

// freshRow is a row that not every answer counts yet.
type freshRow struct {
	id    SessionID
	door  peer.ID // that decided; "" when it is not known
	stamp stamp   // by that door's clock; 0 when it is not known
	at    int64   // when the row was opened, Unix nanoseconds
}

// freshLife is how long rows are kept as fresh: for every answer that can still be
// of use, an owner and a door that are both slow.
const freshLife = askLag + askLife

// held is a document that sessions of an engine have open.
type held struct {
	key      string
	sessions int
}

// reserve keeps a place for a session, anew when it had one. It returns false when
// the engine is full: limit counts sessions and the places kept for others.
func (e *ownedEngine) reserve(id SessionID, limit int, now int64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lapse(now)
	if _, again := e.reserved[id]; !again && limit > 0 && e.sessions+len(e.reserved) >= limit {
		return false
	}
	e.reserved[id] = now + int64(reservationLife)
	return true
}

// release gives a reserved place back.
func (e *ownedEngine) release(id SessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.reserved, id)
}

// lapse drops the places that nobody came for.
func (e *ownedEngine) lapse(now int64) {
	for id, until := range e.reserved {
		if until <= now {
			delete(e.reserved, id)
		}
	}
}

// opened and ended keep the count of rows; the table calls them.
func (e *ownedEngine) opened(r *row, now int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions++
	delete(e.reserved, r.id)
	e.ripen(now)
	e.fresh = append(e.fresh, freshRow{r.id, r.door, r.decided, now})
}

func (e *ownedEngine) ended(r *row) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions--
	e.fresh = slices.DeleteFunc(e.fresh, func(f freshRow) bool { return f.id == r.id })
	for _, d := range r.documents {
		h := e.held[d]
		if h.sessions--; h.sessions == 0 {
			delete(e.held, d)
		}
	}
}

// hold counts a session of the document and returns the one copy of its key.
func (e *ownedEngine) hold(document string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.held[document]
	if h == nil {
		h = &held{key: strings.Clone(document)} // the request's memory is not kept
		e.held[h.key] = h
	}
	h.sessions++
	return h.key
}

// ripen forgets which rows were fresh, also when the clock was set back. Callers
// have read the clock before they took the lock, so a row may be a little younger
// than now.
func (e *ownedEngine) ripen(now int64) {
	e.fresh = slices.DeleteFunc(e.fresh, func(f freshRow) bool {
		return f.at <= now-int64(freshLife) || f.at > now+int64(freshLife)
	})
}

// settled is what doors compare: the sessions that were open askLag ago. Of the asking
// door's own ones it holds those that were decided up to since: that door counts the
// later ones itself, each exactly once whether it is open yet or not. Places that are
// kept do not count, only towards the limit: a door keeps two for each session, and
// how the questions of others will end cannot be told.
func (e *ownedEngine) settled(door peer.ID, since stamp, now int64) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ripen(now)
	n := e.sessions
	for _, f := range e.fresh {
		own := f.stamp != 0 && f.door == door
		if own && f.stamp > since || !own && f.at > now-int64(askLag) {
			n--
		}
	}
	return n
}

// load is the owner's part of a load report. Documents are those of the most
// sessions.
func (e *ownedEngine) load() peer.EngineLoad {
	health, _ := e.Health()
	l := peer.EngineLoad{Name: e.Name(), Health: health, InFlight: e.inFlight.now(), Permille: -1}
	e.mu.Lock()
	defer e.mu.Unlock()
	l.Sessions = e.sessions
	for d := range e.held {
		l.Documents = append(l.Documents, d)
	}
	slices.SortFunc(l.Documents, func(a, b string) int {
		if d := e.held[b].sessions - e.held[a].sessions; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	l.Documents = l.Documents[:min(len(l.Documents), peer.MaxDocuments)]
	slices.Sort(l.Documents)
	return l
}
