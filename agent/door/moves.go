package door

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// moveMemory is how long a door remembers where it moved a session. A browser sends
// half a dozen requests at a time with the old cookie; all of them must follow the
// first one to the same new engine.
const moveMemory = time.Minute

// moveKey is a session at an engine after so many moves. Without their number, two doors
// that move a session in turns, there and back, would each send it after its own
// memory.
type moveKey struct {
	session SessionID
	from    peer.EngineID
	moves   uint32
}

func keyOf(b binding) moveKey { return moveKey{b.session, b.engine, b.moves} }

type move struct {
	done    chan struct{} // closed when to or problem is there
	to      binding
	problem *problem
	at      time.Time
	// nodeLost says that it was the node that was lost, with which the session may come back.
	nodeLost bool
	learned  bool // the browser has shown that it knows
}

// moves makes the requests of a session that lost its engine move together.
type moves struct {
	mu   sync.Mutex
	m    map[moveKey]*move // by where the session was
	ends map[moveKey]*move // by where it is
	size atomic.Int64      // of m
}

func newMoves() *moves { return &moves{m: map[moveKey]*move{}, ends: map[moveKey]*move{}} }

// follow is where a binding has moved to, as far as this door moved it lately. It ends,
// for each step is a move more, or another session.
//
// A door that is cut off moves sessions whose users never hear of it, and whose nodes
// live on. So a move from a node that is not lost any more is forgotten, unless the
// browser has come with the new cookie since.
func (ms *moves) follow(b binding, lost func(peer.ID) bool) binding {
	for {
		ms.mu.Lock()
		m := ms.m[keyOf(b)]
		ms.mu.Unlock()
		if m == nil {
			return b
		}
		<-m.done // a placement is bounded by the time to ask
		if m.problem != nil || m.nodeLost && !lost(b.engine.Node()) && ms.forget(b, m) {
			return b
		}
		b = m.to
	}
}

// any reports whether some session was moved lately.
func (ms *moves) any() bool { return ms.size.Load() > 0 }

// learn notes that the browser came with the cookie of where a session is.
func (ms *moves) learn(b binding) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if len(ms.ends) > 0 && ms.ends[keyOf(b)] != nil {
		ms.ends[keyOf(b)].learned = true
	}
}

// forget drops a move that the browser has not learned of; it returns false otherwise.
func (ms *moves) forget(from binding, m *move) bool {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m.learned {
		return false
	}
	ms.drop(keyOf(from), m)
	return true
}

func (ms *moves) drop(from moveKey, m *move) {
	if ms.m[from] == m {
		delete(ms.m, from)
		ms.size.Store(int64(len(ms.m)))
	}
	if end := keyOf(m.to); ms.ends[end] == m {
		delete(ms.ends, end)
	}
}

// do moves a session away from its engine once, however many requests ask: place is
// called by the first, the others wait for its result. A failure is not remembered. nodeLost
// says that the engine's node is lost, for all that this door knows.
func (ms *moves) do(b binding, now time.Time, nodeLost bool, place func() (binding, *problem)) (binding, *problem) {
	key := keyOf(b)
	ms.mu.Lock()
	if m := ms.m[key]; m != nil {
		ms.mu.Unlock()
		<-m.done
		return m.to, m.problem
	}
	m := &move{done: make(chan struct{}), problem: problemInternal, at: now, nodeLost: nodeLost}
	ms.m[key] = m
	ms.size.Store(int64(len(ms.m)))
	ms.mu.Unlock()
	defer func() {
		ms.mu.Lock()
		if m.problem != nil {
			delete(ms.m, key)
			ms.size.Store(int64(len(ms.m)))
		} else {
			ms.ends[keyOf(m.to)] = m
		}
		ms.mu.Unlock()
		close(m.done)
	}()
	m.to, m.problem = place()
	return m.to, m.problem
}

func (ms *moves) sweep(now time.Time) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for key, m := range ms.m {
		if now.Sub(m.at) > moveMemory {
			ms.drop(key, m)
		}
	}
}
