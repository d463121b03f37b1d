package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Config says how a Pool reaches its destination. Only Dial is needed.
type Config struct {
	// Dial opens a connection to the one destination. It may be called concurrently.
	Dial        func(ctx context.Context) (net.Conn, error)
	DialTimeout time.Duration // 0: 5 s
	MaxDials    int           // connections being opened at a time, others wait for them or for one that comes free; 0: any number
	MaxIdle     int           // idle connections kept; 0: 4,096
	IdleTimeout time.Duration // how long one is kept; 0: 60 s
	HeadTimeout time.Duration // from the request's last byte to the answer's head; 0: 300 s
	BodyIdle    time.Duration // how long a body may stall, either way; 0: 30 s
	Buffers     *Buffers      // may be shared between pools and tunnels; nil: its own
	Metrics     *Metrics      // may be shared between pools; nil: none
	Now         func() time.Time
	// AnyByte makes every byte that comes on any connection, tunnels included, a sign of
	// life; else only heads of answers are. It is for destinations that are one process with many tasks: one of
	// them may be late while the others are not.
	AnyByte bool
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orDuration(&c.DialTimeout, 5*time.Second)
	orDuration(&c.IdleTimeout, time.Minute)
	orDuration(&c.HeadTimeout, 300*time.Second)
	orDuration(&c.BodyIdle, 30*time.Second)
	if c.MaxIdle == 0 {
		c.MaxIdle = 4096
	}
	if c.Buffers == nil {
		c.Buffers = new(Buffers)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Pool holds the connections to one destination. The newest idle connection is
// used first, so that the rest grow old and are closed. It is safe for concurrent
// use. A connection that has become a tunnel is not its own any more.
type Pool struct {
	cfg Config

	silence silence

	mu     sync.Mutex
	idle   []*conn // oldest first
	live   map[*conn]struct{}
	sweep  *time.Timer // closes what is idle for too long; nil when none is
	closed bool
	turns  turns
	// dials ends, by endDials, when connections that are being opened are not wanted.
	dials    context.Context
	endDials context.CancelFunc

	watchers sync.WaitGroup
}

// NewPool returns a pool without connections.
func NewPool(cfg Config) *Pool {
	p := &Pool{cfg: cfg.withDefaults(), live: make(map[*conn]struct{})}
	p.dials, p.endDials = context.WithCancel(context.Background())
	return p
}

// Idle is the number of connections that wait for a request, without pinned ones.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

// Close closes the idle connections. Exchanges under way go on, and their
// connections are closed when they end; new ones fail with ErrPoolClosed.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.turns.refuse(ErrPoolClosed)
	idle := p.idle
	p.idle = nil
	p.stopSweepLocked()
	p.mu.Unlock()
	p.discard(idle)
	p.watchers.Wait()
	return nil
}

// CloseAll is Close, and closes the connections of exchanges under way and pinned
// ones too, and those that are being opened. Those exchanges fail; they still have to
// be ended by their callers.
func (p *Pool) CloseAll() error {
	p.mu.Lock()
	p.closed = true
	p.endDials()
	p.turns.refuse(ErrPoolClosed)
	live := make([]*conn, 0, len(p.live))
	for c := range p.live {
		live = append(live, c)
	}
	p.mu.Unlock()
	for _, c := range live {
		c.nc.Close()
	}
	return p.Close()
}

// acquire returns a connection for one exchange: the pin's, the newest idle one
// that is healthy, or a new one, or one that comes free while others are being opened. With fresh
// it is none that has been idle.
func (p *Pool) acquire(ctx context.Context, pin *Pin, fresh bool) (*conn, error) {
	if pin != nil {
		if c, err := pin.take(); c != nil || err != nil {
			return c, err
		}
	}
	if pin == nil && !fresh {
		if c := p.takeIdle(); c != nil {
			p.cfg.Metrics.countReused()
			return c, nil
		}
	}
	if pin != nil {
		c, err := p.dial(ctx)
		pin.settle(c, err)
		return c, err
	}
	c, err := p.turn(ctx)
	if c == nil && err == nil {
		c, err = p.dial(ctx)
		p.dialed()
	}
	return c, err
}

func (p *Pool) takeIdle() *conn {
	for {
		p.mu.Lock()
		n := len(p.idle)
		if n == 0 || p.closed {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		p.cfg.Metrics.addIdle(-1)
		if c.wake() && p.cfg.Now().Sub(c.idleSince) < p.cfg.IdleTimeout {
			c.reused = true
			return c
		}
		p.cfg.Metrics.countStale()
		c.close()
	}
}

func (p *Pool) dial(ctx context.Context) (*conn, error) {
	if p.isClosed() {
		return nil, ErrPoolClosed
	}
	dialCtx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	p.mu.Lock()
	wanted := p.dials
	p.mu.Unlock()
	defer context.AfterFunc(wanted, cancel)()
	nc, err := p.cfg.Dial(dialCtx)
	p.cfg.Metrics.countDial(err)
	if err != nil {
		var ne net.Error
		if ctx.Err() == nil && (errors.As(err, &ne) && ne.Timeout() || dialCtx.Err() != nil) {
			err = fmt.Errorf("%w: %w", &TimeoutError{Phase: PhaseDial}, err)
		}
		return nil, fmt.Errorf("dial: %w", err)
	}
	c := &conn{nc: nc, pool: p, peek: newPeeker(nc)}
	if p.cfg.AnyByte {
		c.nc = &hearing{nc, p}
		if tc := tcpBelow(nc); tc != nil {
			// Below TLS bytes are no less unasked for: the other agent says nothing of its
			// own accord once an answer was read, and then its end.
			c.peek = newPeeker(tc)
		}
	}
	p.mu.Lock()
	closed := p.closed // meanwhile
	if !closed {
		p.live[c] = struct{}{}
	}
	p.mu.Unlock()
	if closed {
		nc.Close()
		return nil, ErrPoolClosed
	}
	return c, nil
}

// release takes back a connection whose exchange has left nothing behind.
func (p *Pool) release(c *conn) {
	if c.pin != nil {
		c.pin.give(c)
		return
	}
	p.mu.Lock()
	if p.closed || len(p.idle) >= p.cfg.MaxIdle {
		p.mu.Unlock()
		c.close()
		return
	}
	if p.turns.give(c) {
		p.mu.Unlock()
		return
	}
	c.busy.Store(false)
	c.idleSince = p.cfg.Now()
	if c.dropReader(); c.peek == nil {
		c.rest(p.watchers.Go, p.dropIdle)
	}
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.cfg.IdleTimeout, p.sweepIdle)
	}
	p.mu.Unlock()
	p.cfg.Metrics.addIdle(1)
}

// dropIdle closes an idle connection whose watcher has seen it end. One that has
// just been taken is left to its taker, who finds out by wake.
func (p *Pool) dropIdle(c *conn) {
	p.mu.Lock()
	for i, other := range p.idle {
		if other == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.mu.Unlock()
			p.cfg.Metrics.countStale()
			p.discard([]*conn{c})
			return
		}
	}
	p.mu.Unlock()
}

func (p *Pool) sweepIdle() {
	p.mu.Lock()
	now := p.cfg.Now()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= p.cfg.IdleTimeout {
		n++
	}
	old := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	if len(p.idle) == 0 || p.closed {
		p.stopSweepLocked()
	} else {
		p.sweep.Reset(max(p.cfg.IdleTimeout-now.Sub(p.idle[0].idleSince), time.Millisecond))
	}
	p.mu.Unlock()
	p.discard(old)
}

func (p *Pool) stopSweepLocked() {
	if p.sweep != nil {
		p.sweep.Stop()
		p.sweep = nil
	}
}

func (p *Pool) discard(idle []*conn) {
	for _, c := range idle {
		p.cfg.Metrics.addIdle(-1)
		c.close()
	}
}

func (p *Pool) isClosed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

func (p *Pool) forget(c *conn) {
	p.mu.Lock()
	delete(p.live, c)
	p.mu.Unlock()
}
