package door

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/proxyproto"
)

// maxChecked bounds the cookies remembered of a connection: those of every
// document, and the browser's own.
const maxChecked = maxDocumentCookies + 4

// clientConn is a connection that the door accepted, from a user or from another
// agent, with what is remembered of it. Hiding its concrete type also keeps
// net/http from closing a TLS connection whose ALPN name it does not know.
type clientConn struct {
	net.Conn
	agent  peer.ID // who is at the other end; "" for users
	secure bool
	told   *proxyproto.Header // what a proxy said of it; nil when none did

	// checked are tokens by cookie name and value: checked once, then compared. Under mu,
	// but on the short way: there is one request at a time then.
	checked []checkedCookie
	missed  *failure   // what became of the present request on the short way; see express
	lot     lot        // of the present request
	remote  clientAddr // see addr
	judged  *Settings  // by which trusted is so
	trusted bool

	streams streams // over HTTP/2

	left   func() // counts it out; nil when it was not counted
	mu     sync.Mutex
	pins   map[*upstream.Pool]*upstream.Pin
	closed bool
}

// Direct is what it wraps.
func (c *clientConn) Direct() net.Conn { return c.Conn }

// Part lets go of what it wraps, which has been closed: the descriptor is somebody else's.
// Close of what it returns is then to be called in the stead of Close.
func (c *clientConn) Part() io.Closer {
	c.Conn = nil
	if c.mu.Lock(); len(c.pins) > 0 || c.closed || c.left == nil {
		c.mu.Unlock()
		return c
	}
	defer c.mu.Unlock()
	return leaver(c.left)
}

// leaver counts a connection out: all that is left of it to do.
type leaver func()

// Close implements io.Closer.
func (l leaver) Close() error {
	l()
	return nil
}

// checkedCookie is one that was opened.
type checkedCookie struct {
	name, value string
	token       token
}

// CloseWrite lets the server end a connection gently.
func (c *clientConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Close also ends the engine connections that carry this client's authentication.
func (c *clientConn) Close() error {
	c.mu.Lock()
	pins, left := c.pins, c.left
	c.pins, c.closed, c.left = nil, true, nil
	c.mu.Unlock()
	if left != nil {
		left()
	}
	for _, p := range pins {
		p.Close()
	}
	if c.Conn == nil {
		return nil
	}
	return c.Conn.Close()
}

// pin is the connection of that pool that belongs to this client, or nil.
func (c *clientConn) pin(pool *upstream.Pool) *upstream.Pin {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pins[pool]
}

// keep binds an engine connection to this client.
func (c *clientConn) keep(pool *upstream.Pool, p *upstream.Pin) {
	c.mu.Lock()
	old, closed := c.pins[pool], c.closed
	if !closed {
		if c.pins == nil {
			c.pins = map[*upstream.Pool]*upstream.Pin{}
		}
		c.pins[pool] = p
	}
	c.mu.Unlock()
	switch {
	case closed:
		p.Close()
	case old != nil && old != p:
		old.Close()
	}
}

// token opens a cookie, or remembers that it did. Over HTTP/2 requests of a connection come
// beside each other.
func (c *clientConn) token(s *sealer, name, value string) (token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.checked {
		if k := &c.checked[i]; k.value == value && k.name == name {
			return k.token, nil
		}
	}
	t, err := s.open(name, value)
	if err != nil {
		return token{}, err
	}
	if len(c.checked) >= maxChecked {
		c.checked = c.checked[:0]
	}
	c.checked = append(c.checked, checkedCookie{name, value, t})
	return t, nil
}

// known is a cookie that token has opened.
func (c *clientConn) known(name string, value []byte) (token, bool) {
	for i := range c.checked {
		if k := &c.checked[i]; k.value == string(value) && k.name == name {
			return k.token, true
		}
	}
	return token{}, false
}

// addr is the address at the other end, in both forms, as RemoteAddr has it.
func (c *clientConn) addr() clientAddr {
	if c.remote.text == nil {
		a := hostAddr(c.RemoteAddr().String())
		c.remote = clientAddr{text: []byte(a.String()), addr: a}
	}
	return c.remote
}

// trusts reports whether the other end may speak for users.
func (c *clientConn) trusts(set *Settings) bool {
	if c.judged != set {
		c.judged, c.trusted = set, inNetworks(c.addr().addr, c.networks(set))
	}
	return c.trusted
}

// pinned reports whether engine connections belong to this client.
func (c *clientConn) pinned() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pins) > 0
}

// lastMissed takes what the short way left to be answered.
func (c *clientConn) lastMissed() *failure {
	f := c.missed
	c.missed = nil
	return f
}

// listener wraps what it accepts into clientConns.
type listener struct {
	net.Listener
	remote func(net.Conn) peer.ID // nil for users
	tls    *tls.Config            // of users; nil in cleartext
}

func (l listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &clientConn{Conn: nc}
		if l.remote != nil {
			if c.agent = l.remote(nc); c.agent == "" {
				_ = nc.Close()
				continue
			}
		}
		if l.tls != nil {
			c.Conn, c.secure = tls.Server(nc, l.tls), true
		}
		return c, nil
	}
}

type connKey struct{}

func connContext(nc net.Conn) context.Context {
	return context.WithValue(context.Background(), connKey{}, nc)
}

// connOf is the connection that a request came over.
func connOf(r *http.Request) *clientConn {
	c, _ := r.Context().Value(connKey{}).(*clientConn)
	return c
}
