package serve

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/http1"
)

// Config is what a Server is made of. Buffers are required.
type Config struct {
	// Begin, if not nil, is called first with a connection, in its goroutine and under the
	// limit of a head: for handshakes. It returns false when the connection is not for this
	// server: then Begin has closed it, or given it to somebody else. RemoteAddr is asked
	// after it.
	Begin func(net.Conn) bool
	// Context makes the context of a connection's requests; nil is the background.
	Context func(net.Conn) context.Context
	// Page answers a request that is not HTTP as it should be; the connection is closed
	// after it. Only the method may be looked at, and only when it is not empty. Nil: a
	// line of text.
	Page func(http.ResponseWriter, *http.Request, *http1.Error)

	Buffers *http1.Buffers // with the limits of heads
	Idle    time.Duration  // between requests; 0: 75 s
	Head    time.Duration  // from a head's first byte to its last; 0: 5 s
	Now     func() time.Time
	Log     zerolog.Logger
}

// Tick is how often connections are looked at.
const Tick = 500 * time.Millisecond

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("server closed")

// Server serves connections. Its methods are safe for concurrent use.
type Server struct {
	// Handler answers requests on the whole way. What net/http asks of Handlers holds
	// here, too: panic(http.ErrAbortHandler) cuts the connection. It is not changed once
	// Serve was called.
	Handler http.Handler
	// Express, if not nil, sees each request first, in the connection's goroutine. It
	// returns true when it has answered, or has cut the connection. It is not changed either.
	Express func(*Conn, *http1.Request) bool

	cfg  Config
	idle int64 // in ticks
	head int64

	tick atomic.Int64 // how often was looked
	lame atomic.Bool  // every answer is its connection's last

	mu        sync.Mutex
	listeners map[*net.Listener]struct{}
	conns     map[*Conn]struct{}
	empty     chan struct{} // closed when the last one has gone; nil while nobody waits
	closed    bool
	sweeping  bool
	stop      chan struct{} // ends the sweep
	running   sync.WaitGroup
}

// New returns a server that serves nothing yet.
func New(h http.Handler, cfg Config) *Server {
	if cfg.Idle == 0 {
		cfg.Idle = 75 * time.Second
	}
	if cfg.Head == 0 {
		cfg.Head = 5 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{
		Handler: h, cfg: cfg, idle: Ticks(cfg.Idle), head: Ticks(cfg.Head),
		listeners: map[*net.Listener]struct{}{}, conns: map[*Conn]struct{}{}, stop: make(chan struct{}),
	}
}

// Ticks is how many looks a limit lasts, at least as long as asked for; 0 is for ever.
func Ticks(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d+Tick-1)/Tick) + 1
}

// Serve accepts connections from l until Shutdown or Close, and then returns ErrClosed,
// or until l fails. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if !s.begin(&l) {
		_ = l.Close()
		return ErrClosed
	}
	defer s.forget(&l)
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.start(nc)
			continue
		case s.isClosed():
			return ErrClosed
		case !temporary(err):
			return err
		}
		// Out of descriptors, most likely: some will come free.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Log.Warn().Err(err).Dur("pause", pause).Msg("connection not accepted")
		select {
		case <-time.After(pause):
		case <-s.stop:
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *Server) begin(l *net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) forget(l *net.Listener) {
	_ = (*l).Close() // it may be closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	if !s.sweeping {
		s.sweeping = true
		s.running.Go(s.sweepLoop)
	}
	s.running.Go(c.run)
	s.mu.Unlock()
}

// ended is told by each connection when it is over or belongs to somebody else.
func (s *Server) ended(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if len(s.conns) == 0 && s.empty != nil {
		close(s.empty)
		s.empty = nil
	}
}

// Open is the number of connections.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// isClosing is isClosed for those who ask for every request.
func (s *Server) isClosing() bool { return s.lame.Load() && s.isClosed() }

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// LastAnswers makes every answer from now on its connection's last, so that clients that
// have another way take it. Nothing is closed by it.
func (s *Server) LastAnswers() { s.lame.Store(true) }

// Shutdown closes the listeners and idle connections, and waits until requests under way
// are answered. When ctx ends first it returns its error and leaves the rest to Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.LastAnswers()
	s.mu.Lock()
	s.closed = true
	s.closeListeners()
	if len(s.conns) == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.empty == nil {
		s.empty = make(chan struct{})
	}
	empty := s.empty
	s.mu.Unlock()
	for _, c := range s.all() {
		c.retire()
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// closeListeners is called with the lock held.
func (s *Server) closeListeners() {
	for l := range s.listeners {
		_ = (*l).Close()
	}
}

// Close cuts everything and waits for its goroutines, but for Handlers that do not end
// with their request's context. It may be called more than once.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.closeListeners()
	s.mu.Unlock()
	for _, c := range s.all() {
		c.cut()
	}
}

// Wait returns when all goroutines have ended, after Close.
func (s *Server) Wait() { s.running.Wait() }

// sweepLoop looks at the connections.
func (s *Server) sweepLoop() {
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.sweep(s.tick.Add(1))
		}
	}
}

// sweep looks outside of the lock: to end a connection may take a moment.
func (s *Server) sweep(now int64) {
	for _, c := range s.all() {
		c.look(now)
	}
}

// all are the connections of this moment.
func (s *Server) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}
