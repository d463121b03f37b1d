package door

import (
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// moveMemory is how long a door remembers where it moved a session. A browser sends
// half a dozen requests at a time with the old cookie; all of them must follow the
// first one to the same new engine.
const moveMemory = time.Minute

type moveKey struct {
	session SessionID
	from    peer.EngineID
}

type move struct {
	done    chan struct{} // closed when to or problem is there
	to      binding
	problem *problem
	at      time.Time
}

// moves makes the requests of a session that lost its engine move together.
type moves struct {
	mu sync.Mutex
	m  map[moveKey]*move
}

func newMoves() *moves { return &moves{m: map[moveKey]*move{}} }

// follow is where a binding has moved to, if this door moved it lately.
func (ms *moves) follow(b binding) (binding, bool) {
	ms.mu.Lock()
	m := ms.m[moveKey{b.session, b.engine}]
	ms.mu.Unlock()
	if m == nil {
		return b, false
	}
	<-m.done // a placement is bounded by the time to ask
	return m.to, m.problem == nil
}

// do moves a session away from its engine once, however many requests ask: place is
// called by the first, the others wait for its result. A failure is not remembered.
func (ms *moves) do(b binding, now time.Time, place func() (binding, *problem)) (binding, *problem) {
	key := moveKey{b.session, b.engine}
	ms.mu.Lock()
	if m := ms.m[key]; m != nil {
		ms.mu.Unlock()
		<-m.done
		return m.to, m.problem
	}
	m := &move{done: make(chan struct{}), problem: problemInternal, at: now}
	ms.m[key] = m
	ms.mu.Unlock()
	defer func() {
		ms.mu.Lock()
		if m.problem != nil {
			delete(ms.m, key)
		} else {
			delete(ms.m, moveKey{b.session, m.to.engine}) // it may come back to where it once was
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
			delete(ms.m, key)
		}
	}
}
