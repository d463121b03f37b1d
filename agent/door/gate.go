package door

import (
	"context"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// gate counts the requests under way, tunnels included, so that whoever stops the
// door can wait for them. The server does not wait for what it has handed over.
type gate struct {
	mu    sync.Mutex
	n     int
	empty chan struct{} // closed when n falls to 0; nil while nobody waits
}

func (g *gate) enter() {
	g.mu.Lock()
	g.n++
	g.mu.Unlock()
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n--; g.n == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

func (g *gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n
}

// wait returns when nobody is inside.
func (g *gate) wait(ctx context.Context) error {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.empty == nil {
		g.empty = make(chan struct{})
	}
	empty := g.empty
	g.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close codes of WebSockets (RFC 6455 7.4.1 and IANA's registry).
const (
	closeGoingAway      = 1001 // this door stops
	closeServiceRestart = 1012 // come back: the session ends or moves
)

// closeGrace is how long a WebSocket has to finish the frame it is in.
const closeGrace = 5 * time.Second

// sockets are the open WebSockets of a door, each with the node of its engine.
type sockets struct {
	mu      sync.Mutex
	open    map[socket]peer.ID
	perNode map[peer.ID]int // of open, by node
	closing bool
}

// add registers a WebSocket; when the door stops already it is told so at once.
func (s *sockets) add(w socket, node peer.ID) {
	s.mu.Lock()
	if s.open == nil {
		s.open, s.perNode = map[socket]peer.ID{}, map[peer.ID]int{}
	}
	s.open[w] = node
	s.perNode[node]++
	closing := s.closing
	s.mu.Unlock()
	if closing {
		w.Shutdown(closeGoingAway, closeGrace)
	}
}

func (s *sockets) remove(w socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	node, is := s.open[w]
	if !is {
		return
	}
	delete(s.open, w)
	if s.perNode[node]--; s.perNode[node] == 0 {
		delete(s.perNode, node)
	}
}

// any reports whether there is a WebSocket to an engine of that node.
func (s *sockets) any(node peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.perNode[node] > 0
}

func (s *sockets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// of lists the WebSockets to engines of the nodes for which pick says yes.
func (s *sockets) of(pick func(peer.ID) bool) []socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []socket
	for w, node := range s.open {
		if pick(node) {
			out = append(out, w)
		}
	}
	return out
}

// stop tells all, and those still to come, that the door goes away.
func (s *sockets) stop() {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	closeSockets(s.of(func(peer.ID) bool { return true }), closeGoingAway)
}

func closeSockets(all []socket, code uint16) {
	for _, w := range all {
		w.Shutdown(code, closeGrace)
	}
}
