package upstream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// Errors that end a tunnel, told apart with errors.Is. A *FrameError means that an
// end broke the framing.
var (
	ErrIdle   = errors.New("no user frame for too long")
	ErrSilent = errors.New("client answers no pings")
	ErrGrace  = errors.New("cut when the grace was over")
)

// TunnelConfig is a WebSocket after its 101. Only the connections are needed.
type TunnelConfig struct {
	Client, Server net.Conn // the tunnel clears their deadlines and closes them
	ClientBuffered []byte   // read from Client beyond the request; not changed
	ServerBuffered []byte   // read from Server beyond the answer; not changed

	Ping         time.Duration // to a client not heard of for so long; 0: never
	PongTimeout  time.Duration // how long a client may leave pings unanswered; 0: 60 s
	IdleTimeout  time.Duration // how long there may be no user frame; 0: for ever
	WriteTimeout time.Duration // how long a piece may take to be written; 0: 30 s

	Counters *TunnelCounters // added to as well, for many tunnels together; may be nil
	Buffers  *Buffers        // nil: its own
	Now      func() time.Time
}

// TunnelCounters counts what tunnels pass on, headers included, without what they
// add or swallow themselves. It is safe for concurrent use.
type TunnelCounters struct {
	BytesToServer, BytesToClient, FramesToServer, FramesToClient atomic.Int64
}

// Stats is a reading of the counters of one tunnel.
type Stats struct {
	BytesToServer, BytesToClient, FramesToServer, FramesToClient int64
}

// Tunnel passes frames between a client and an engine. It reads frame headers only
// and copies payloads untouched, so that between two frames it can put control
// frames of its own: pings to the client, whose pongs it swallows, and at a
// shutdown a close frame to both ends.
//
// Each direction has one goroutine, the only one to write to that direction's
// destination. To have a control frame written, it is woken from its read by a read
// deadline in the past.
type Tunnel struct {
	cfg      TunnelConfig
	counters TunnelCounters
	up, down lane // to the server, to the client

	marker     [8]byte       // in the payload of our pings
	pings      atomic.Uint32 // written or about to be
	heard      atomic.Int64  // last bytes from the client, UnixNano
	user       atomic.Int64  // last bytes of a user frame, either way
	unanswered atomic.Int64  // first ping since heard; 0: none

	poke     chan struct{} // a lane has seen a close frame
	shutdown chan closing
	asked    atomic.Bool // Shutdown was called
}

type closing struct {
	code  uint16
	grace time.Duration
}

// NewTunnel returns a tunnel that does not run yet.
func NewTunnel(cfg TunnelConfig) *Tunnel {
	if cfg.PongTimeout == 0 {
		cfg.PongTimeout = time.Minute
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = 30 * time.Second
	}
	if cfg.Buffers == nil {
		cfg.Buffers = new(Buffers)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	t := &Tunnel{cfg: cfg, poke: make(chan struct{}, 1), shutdown: make(chan closing, 1)}
	t.up = lane{t: t, src: cfg.Client, dst: cfg.Server, first: cfg.ClientBuffered, fromClient: true}
	t.down = lane{t: t, src: cfg.Server, dst: cfg.Client, first: cfg.ServerBuffered}
	_, _ = rand.Read(t.marker[:]) // never fails
	return t
}

// Stats may be called at any time.
func (t *Tunnel) Stats() Stats {
	c := &t.counters
	return Stats{BytesToServer: c.BytesToServer.Load(), BytesToClient: c.BytesToClient.Load(),
		FramesToServer: c.FramesToServer.Load(), FramesToClient: c.FramesToClient.Load()}
}

// Shutdown asks both ends to close with the code (RFC 6455 7.4; one that must not be
// on the wire is sent as 1001): each gets a close frame after the frame it is
// receiving, and nothing after it. When both have answered, or grace is over, Run
// cuts the connections and returns. Shutdown does not wait. The first call counts.
func (t *Tunnel) Shutdown(code uint16, grace time.Duration) {
	if code < 1000 || code >= 5000 || 1004 <= code && code <= 1006 || code == 1015 {
		code = 1001
	}
	if !t.asked.Swap(true) {
		t.shutdown <- closing{code, grace} // it has room for the one
	}
}

// Run passes frames until an end closes, Shutdown is done, a limit passes or ctx is
// cancelled, which cuts at once. It closes both connections and waits for its
// goroutines. The error is nil when an end closed or answered a Shutdown; else
// ErrIdle, ErrSilent, ErrGrace, *FrameError, the context's cause, or what a socket said.
func (t *Tunnel) Run(ctx context.Context) (Stats, error) {
	err := t.run(ctx)
	return t.Stats(), err
}

func (t *Tunnel) run(ctx context.Context) error {
	if err := t.prepare(); err != nil {
		t.cut()
		return err
	}
	ended := make(chan laneEnd, 2)
	for _, l := range []*lane{&t.up, &t.down} {
		go func() { ended <- laneEnd{l, l.run()} }()
	}
	left, err := t.control(ctx, ended)
	t.cut()
	for ; left > 0; left-- {
		<-ended
	}
	return err
}

func (t *Tunnel) prepare() error {
	keepAlive(t.cfg.Server)
	now := t.cfg.Now().UnixNano()
	t.heard.Store(now)
	t.user.Store(now)
	for _, nc := range []net.Conn{t.cfg.Client, t.cfg.Server} {
		if err := nc.SetDeadline(time.Time{}); err != nil {
			return fmt.Errorf("clear deadlines: %w", err)
		}
	}
	return nil
}

func (t *Tunnel) cut() {
	t.cfg.Client.Close()
	t.cfg.Server.Close()
}

// control does what fate says until the tunnel is over. It returns how many lanes
// are still running.
func (t *Tunnel) control(ctx context.Context, ended <-chan laneEnd) (left int, err error) {
	f := newFate(t.cfg)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for left = 2; ; {
		select {
		case <-ctx.Done():
			return left, context.Cause(ctx)
		case s := <-t.shutdown:
			f.close(s, nil, ErrGrace, t.cfg.Now())
			t.sendClose(s.code)
		case e := <-ended:
			left--
			if t.broken(e.err, f.closing || left == 0) {
				return left, e.err
			}
			e.lane.halfClose()
			f.laneEnded(t.cfg.Now())
		case <-t.poke:
		case <-timer.C:
		}
		if left == 0 {
			return 0, f.err
		}
		if over, err := t.obey(f, timer); over {
			return left, err
		}
	}
}

// broken reports whether a lane's end is an error of the tunnel. An end that has
// been told to go, or whose other side has gone, need not be polite about it.
func (t *Tunnel) broken(err error, ending bool) bool {
	var frame *FrameError
	switch {
	case errors.Is(err, io.EOF):
		return false
	case errors.As(err, &frame):
		return true
	}
	return !ending && !t.up.sawClose.Load() && !t.down.sawClose.Load()
}

// obey carries out one verdict and sets the timer for the next.
func (t *Tunnel) obey(f *fate, timer *time.Timer) (over bool, err error) {
	for {
		v, next := f.judge(t.vitals(), t.cfg.Now())
		switch v {
		case isOver:
			return true, f.err
		case pingClient:
			t.down.want(&t.down.wantPing, 1)
		case closeIdle:
			t.sendClose(closeGoingAway)
		case wait:
			if !next.IsZero() {
				timer.Reset(max(next.Sub(t.cfg.Now()), 0))
			}
			return false, nil
		}
	}
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
