package upstream

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// silence is what a pool knows of a destination that says nothing. Its times are in
// Unix nanoseconds of the pool's clock.
type silence struct {
	waiting atomic.Int64 // exchanges without the head of an answer, dials included
	since   atomic.Int64 // when waiting became more than none
	heard   atomic.Int64 // when the last sign of life came: see Config.AnyByte
}

// await notes that an exchange waits for the head of its answer.
func (s *silence) await(now func() time.Time) {
	if s.waiting.Add(1) == 1 {
		s.since.Store(now().UnixNano())
	}
}

// done notes that it has it, or failed.
func (s *silence) done(now func() time.Time, answered bool) {
	if answered {
		s.heard.Store(now().UnixNano())
	}
	s.waiting.Add(-1)
}

// Silence is for how long somebody has been waiting while no sign of life came from the
// destination, be it to others: 0 when nobody waits.
func (p *Pool) Silence() time.Duration {
	if p.silence.waiting.Load() == 0 {
		return 0
	}
	from := max(p.silence.since.Load(), p.silence.heard.Load())
	return max(p.cfg.Now().Sub(time.Unix(0, from)), 0)
}

// Heard is when the last sign of life came, zero when none ever did.
func (p *Pool) Heard() time.Time {
	if at := p.silence.heard.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// CutSilent closes the connections on which nothing has come in the present exchange,
// the idle ones and those that are being opened: those exchanges fail with ErrCut, or with
// a NotSentError when nothing was sent. Answers that have begun go on, and so does the pool. It is for a
// destination that hangs: the connections stand, and nobody is behind them.
func (p *Pool) CutSilent() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.stopSweepLocked()
	p.turns.refuse(context.Canceled)
	if p.endDials(); !p.closed {
		p.dials, p.endDials = context.WithCancel(context.Background())
	}
	var silent []*conn
	for c := range p.live {
		if c.busy.Load() && !c.answered.Load() {
			silent = append(silent, c)
		}
	}
	p.mu.Unlock()
	p.discard(idle)
	for _, c := range silent {
		c.cut.Store(true)
		c.nc.Close()
	}
}

// CheckSilent has the kernel ask the peer, each second from now on, whether a connection still
// stands, for those whose exchange has had no byte of an answer since the last call. A
// connection can be dead for one side alone, when a firewall or a packet that was lost ended
// it for the other: whoever has sent a request, and had it acknowledged, would wait for the
// kernel's usual time. The answer to a probe is then a reset (RFC 9293, 3.10.7.1), and the
// exchange fails. A peer that answers nothing is not given up by this.
func (p *Pool) CheckSilent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.live {
		if c.checked || !c.busy.Load() || c.answered.Load() {
			continue
		}
		if n := c.exchange.Load(); c.waited != n {
			c.waited = n
			continue
		}
		c.checked = true
		checkOften(c.nc)
	}
}

// hearing is a connection of a pool with Config.AnyByte.
type hearing struct {
	net.Conn
	pool *Pool
}

// Read implements net.Conn.
func (h *hearing) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	if n > 0 {
		h.pool.silence.heard.Store(h.pool.cfg.Now().UnixNano())
	}
	return n, err
}

// NetConn is what it wraps, as *tls.Conn has it.
func (h *hearing) NetConn() net.Conn { return h.Conn }

// CloseWrite closes one half where that can be done.
func (h *hearing) CloseWrite() error {
	if c, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}
