package door

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	inFlight atomic.Int64

	mu       sync.Mutex
	sessions int                 // rows in the table
	reserved map[SessionID]int64 // until when, Unix nanoseconds
	held     map[string]*held    // documents by key
}

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
func (e *ownedEngine) opened(id SessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions++
	delete(e.reserved, id)
}

func (e *ownedEngine) ended(documents []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions--
	for _, d := range documents {
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

// count is what doors compare: the sessions that are open. Places that are kept do
// not count, only towards the limit: a door keeps two for each session and knows
// itself which one it will use (see chooser.settle), and how the others' questions
// will end cannot be told. Counted, they made whole bursts of users run to whichever
// engine had been asked last.
func (e *ownedEngine) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions
}

// load is the owner's part of a load report. Documents are those of the most
// sessions.
func (e *ownedEngine) load() peer.EngineLoad {
	health, _ := e.Health()
	l := peer.EngineLoad{Name: e.Name(), Health: health, InFlight: int(e.inFlight.Load()), Permille: -1}
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
