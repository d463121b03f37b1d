package upstream

import (
	"net"
	"sync"
)

// Pin is the connection that belongs to one client connection, because it carries
// that client's authentication: NTLM and Negotiate authenticate connections, not
// requests, so on a shared one the next user would be somebody else. Whoever got
// it from Response.Pinned must Close it when the client connection ends.
//
// If the engine closes the connection, the next request with the Pin opens another
// one, unauthenticated, and the client starts over.
type Pin struct {
	pool *Pool

	mu     sync.Mutex
	c      *conn // nil when the engine has closed it
	busy   bool
	closed bool
}

// newPin binds the connection of an exchange that is under way.
func newPin(c *conn) *Pin {
	p := &Pin{pool: c.pool, c: c, busy: true}
	c.pin = p
	return p
}

// take returns the connection, or nil if a new one must be opened, which settle
// then binds.
func (p *Pin) take() (*conn, error) {
	p.mu.Lock()
	if p.busy {
		p.mu.Unlock()
		return nil, ErrPinBusy
	}
	if p.closed {
		p.mu.Unlock()
		return nil, net.ErrClosed
	}
	p.busy = true
	c := p.c
	p.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	if c.wake() {
		c.reused = true
		return c, nil
	}
	p.mu.Lock()
	p.c = nil // so that lost does not end our turn
	p.mu.Unlock()
	c.close()
	return nil, nil
}

// settle binds what a dial after take gave.
func (p *Pin) settle(c *conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.busy = false
		return
	}
	p.c, c.pin = c, p
	if p.closed { // meanwhile: the exchange fails by itself
		c.nc.Close()
	}
}

// give returns the connection after an exchange that left nothing behind.
func (p *Pin) give(c *conn) {
	p.mu.Lock()
	closed := p.closed || p.pool.isClosed()
	if !closed {
		// The watcher ends with the connection, which is the pin's, not the pool's.
		c.rest(func(f func()) { go f() }, nil)
		p.busy = false
	}
	p.mu.Unlock()
	if closed {
		c.close()
	}
}

// lost is told that c is closed or has become a tunnel.
func (p *Pin) lost(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c == c {
		p.c, p.busy = nil, false
	}
}

// Close closes the connection, also under an exchange. It may be called more than
// once, and on nil.
func (p *Pin) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	c, busy := p.c, p.busy
	if !busy {
		p.c = nil
	}
	p.mu.Unlock()
	switch {
	case c == nil:
	case busy:
		c.nc.Close() // the exchange notices and tidies up
	default:
		c.close()
	}
}
