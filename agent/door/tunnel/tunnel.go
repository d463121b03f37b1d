package tunnel

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Errors that end a tunnel, told apart with errors.Is. A *FrameError means that an
// end broke the framing.
var (
	ErrIdle   = errors.New("no user frame for too long")
	ErrSilent = errors.New("client answers no pings")
	ErrGrace  = errors.New("cut when the grace was over")
	ErrClosed = errors.New("cut: the lot was closed")
)

// Config is a WebSocket after its 101. Only the connections are needed.
type Config struct {
	Client, Server net.Conn // the tunnel clears their deadlines and closes them
	ClientBuffered []byte   // read from Client beyond the request; not changed
	ServerBuffered []byte   // read from Server beyond the answer; not changed

	Ping         time.Duration // to a client not heard of for so long; 0: never
	PongTimeout  time.Duration // how long a client may leave pings unanswered; 0: 60 s
	IdleTimeout  time.Duration // how long there may be no user frame; 0: for ever
	WriteTimeout time.Duration // how long a piece may take to be written; 0: 30 s

	Counters *Counters // added to as well, for many tunnels together; may be nil
	// End is called once when the tunnel has ended and both connections are closed, in a
	// goroutine of the lot. The error is nil when an end closed or answered a Shutdown; else
	// ErrIdle, ErrSilent, ErrGrace, ErrClosed, a *FrameError, or what a socket said.
	End func(Stats, error)
}

// Counters counts what tunnels pass on, headers included, without what they
// add or swallow themselves. It is safe for concurrent use.
type Counters struct {
	BytesToServer, BytesToClient, FramesToServer, FramesToClient atomic.Int64
}

// Stats is a reading of the counters of one tunnel.
type Stats struct {
	BytesToServer, BytesToClient, FramesToServer, FramesToClient int64
}

// Tunnel is one WebSocket. Its exported methods may be called at any time, by any
// goroutine; the others are for whoever runs it.
type Tunnel struct {
	now      func() time.Time
	total    *Counters
	end      func(Stats, error)
	counters Counters
	up, down lane // to the server, to the client
	fate     fate

	marker     [8]byte       // in the payload of our pings
	pings      atomic.Uint32 // written or about to be
	heard      atomic.Int64  // last bytes from the client, UnixNano
	user       atomic.Int64  // last bytes of a user frame, either way
	unanswered atomic.Int64  // first ping since heard; 0: none

	mu   sync.Mutex
	wish *closing // of Shutdown; the first one counts
	met  bool     // it has been carried out
	wake func()   // tells whoever runs it to look; nil before
}

type closing struct {
	code  uint16
	grace time.Duration
}

func newTunnel(cfg *Config, now func() time.Time) *Tunnel {
	t := &Tunnel{now: now, total: cfg.Counters, end: cfg.End, fate: newFate(cfg)}
	t.up = lane{t: t, fromClient: true}
	t.down = lane{t: t}
	_, _ = rand.Read(t.marker[:]) // never fails
	return t
}

// Stats is what the tunnel has passed on so far.
func (t *Tunnel) Stats() Stats {
	c := &t.counters
	return Stats{BytesToServer: c.BytesToServer.Load(), BytesToClient: c.BytesToClient.Load(),
		FramesToServer: c.FramesToServer.Load(), FramesToClient: c.FramesToClient.Load()}
}

// Shutdown asks both ends to close with the code (RFC 6455 7.4; one that must not be
// on the wire is sent as 1001): each gets a close frame after the frame it is
// receiving, and nothing after it. When both have answered, or grace is over, the
// connections are cut. Shutdown does not wait. The first call counts.
func (t *Tunnel) Shutdown(code uint16, grace time.Duration) {
	if code < 1000 || code >= 5000 || 1004 <= code && code <= 1006 || code == 1015 {
		code = closeGoingAway
	}
	t.mu.Lock()
	if t.wish == nil {
		t.wish = &closing{code, grace}
	}
	t.mu.Unlock()
	t.nudge()
}

// begin notes when the tunnel began, and how whoever runs it is told to look.
func (t *Tunnel) begin(wake func()) {
	now := t.now().UnixNano()
	t.heard.Store(now)
	t.user.Store(now)
	t.mu.Lock()
	t.wake = wake
	t.mu.Unlock()
}

// nudge has whoever runs the tunnel call step.
func (t *Tunnel) nudge() {
	t.mu.Lock()
	wake := t.wake
	t.mu.Unlock()
	if wake != nil {
		wake()
	}
}

// wished is what Shutdown asked for, once.
func (t *Tunnel) wished() *closing {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.met || t.wish == nil {
		return nil
	}
	t.met = true
	return t.wish
}

// step does what is due, as far as lanes have only to be told. It returns when to call it
// again at the latest, zero for never, or that the tunnel is over: fate.err says why.
func (t *Tunnel) step() (next time.Time, over bool) {
	now := t.now()
	if c := t.wished(); c != nil {
		t.fate.close(*c, nil, ErrGrace, now)
		t.sendClose(c.code)
	}
	for {
		v, next := t.fate.judge(t.vitals(), now)
		switch v {
		case isOver:
			return now, true
		case pingClient:
			t.down.want(&t.down.wantPing, 1)
		case closeIdle:
			t.sendClose(closeGoingAway)
		case wait:
			return next, false
		}
	}
}

// laneEnded notes that a lane has come to its end with err, io.EOF for a good one. It
// returns the error that ends the whole tunnel at once, or nil.
func (t *Tunnel) laneEnded(l *lane, err error) error {
	l.over = true
	if t.broken(err) {
		return err
	}
	t.fate.laneEnded(t.now())
	return nil
}

// bothEnded reports whether nothing is to be passed on any more.
func (t *Tunnel) bothEnded() bool { return t.up.over && t.down.over }

// broken reports whether a lane's end is an error of the tunnel. An end that has
// been told to go, or whose other side has gone, need not be polite about it.
func (t *Tunnel) broken(err error) bool {
	var frame *FrameError
	switch {
	case errors.Is(err, io.EOF):
		return false
	case errors.As(err, &frame):
		return true
	}
	return !t.fate.closing && !t.bothEnded() && !t.up.sawClose.Load() && !t.down.sawClose.Load()
}

func (t *Tunnel) sendClose(code uint16) {
	t.down.want(&t.down.wantClose, uint32(code))
	t.up.want(&t.up.wantClose, uint32(code))
}

func (t *Tunnel) vitals() vitals {
	v := vitals{heard: time.Unix(0, t.heard.Load()), user: time.Unix(0, t.user.Load()),
		clientClosed: t.up.sawClose.Load(), serverClosed: t.down.sawClose.Load()}
	if u := t.unanswered.Load(); u != 0 {
		v.unanswered = time.Unix(0, u)
	}
	return v
}
