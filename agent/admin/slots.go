package admin

import (
	"net"
	"net/http"
	"sync"
)

// Bounds of a listener's connections.
const (
	// maxConns have to suffice for ten thousand who wait.
	maxConns = 12_288
	// maxStrangers bounds those on which nobody has been let in yet: they cannot take
	// the places of those who were.
	maxStrangers = 512
)

// slots is a listener that accepts while fewer than maxConns connections are open, and
// fewer than maxStrangers of strangers.
type slots struct {
	net.Listener
	all       chan struct{}
	strangers chan struct{}
	done      chan struct{}
	once      sync.Once

	mu   sync.Mutex
	open map[net.Conn]bool // whether it is a stranger's
}

func newSlots(ln net.Listener) *slots {
	return &slots{
		Listener: ln, all: make(chan struct{}, maxConns), strangers: make(chan struct{}, maxStrangers),
		done: make(chan struct{}), open: map[net.Conn]bool{},
	}
}

// Accept implements net.Listener.
func (s *slots) Accept() (net.Conn, error) {
	for _, free := range []chan struct{}{s.strangers, s.all} {
		select {
		case free <- struct{}{}:
		case <-s.done:
			return nil, net.ErrClosed
		}
	}
	c, err := s.Listener.Accept()
	if err != nil {
		<-s.strangers
		<-s.all
		return nil, err
	}
	s.mu.Lock()
	s.open[c] = true
	s.mu.Unlock()
	return c, nil
}

// Close implements net.Listener.
func (s *slots) Close() error {
	s.once.Do(func() { close(s.done) })
	return s.Listener.Close()
}

// letIn makes the connection one of somebody who is known.
func (s *slots) letIn(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[c] {
		s.open[c] = false
		<-s.strangers
	}
}

// release gives the place of a connection that was closed.
func (s *slots) release(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stranger, there := s.open[c]
	if !there {
		return
	}
	delete(s.open, c)
	if <-s.all; stranger {
		<-s.strangers
	}
}

// connState is http.Server's. A connection that was taken from it keeps its place.
func (s *slots) connState(c net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		s.release(whole(c))
	}
}

// closeAll closes the connections that are open.
func (s *slots) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close() // whoever uses it meets the error
	}
}

// returned is a listener of connections that come back to net/http.
type returned struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newReturned(addr net.Addr) *returned {
	return &returned{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

// give hands a connection on; false when nobody takes it any more.
func (r *returned) give(c net.Conn) bool {
	select {
	case r.conns <- c:
		return true
	case <-r.done:
		return false
	}
}

// Accept implements net.Listener.
func (r *returned) Accept() (net.Conn, error) {
	select {
	case c := <-r.conns:
		return c, nil
	case <-r.done:
		return nil, net.ErrClosed
	}
}

// Addr implements net.Listener.
func (r *returned) Addr() net.Addr { return r.addr }

// Close implements net.Listener.
func (r *returned) Close() error {
	r.once.Do(func() { close(r.done) })
	return nil
}

// begun is a connection from which something has been read already.
type begun struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *begun) Read(b []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.head)
	c.head = c.head[n:]
	return n, nil
}

// whole is the connection as it was accepted.
func whole(c net.Conn) net.Conn {
	if b, ok := c.(*begun); ok {
		return b.Conn
	}
	return c
}
