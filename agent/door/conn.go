package door

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
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

	// checked are tokens by cookie name and value: checked once, then compared.
	// One request of a connection is served at a time, so they need no lock.
	checked map[[2]string]token

	mu     sync.Mutex
	pins   map[*upstream.Pool]*upstream.Pin
	closed bool
}

// Direct is what it wraps.
func (c *clientConn) Direct() net.Conn { return c.Conn }

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
	pins := c.pins
	c.pins, c.closed = nil, true
	c.mu.Unlock()
	for _, p := range pins {
		p.Close()
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

// token opens a cookie, or remembers that it did.
func (c *clientConn) token(s *sealer, name, value string) (token, error) {
	key := [2]string{name, value}
	if t, ok := c.checked[key]; ok {
		return t, nil
	}
	t, err := s.open(name, value)
	if err != nil {
		return token{}, err
	}
	if c.checked == nil || len(c.checked) >= maxChecked {
		c.checked = map[[2]string]token{}
	}
	c.checked[key] = t
	return t, nil
}

// listener wraps what it accepts into clientConns.
type listener struct {
	net.Listener
	remote func(net.Conn) peer.ID // nil for users
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
		_, c.secure = nc.(interface{ ConnectionState() tls.ConnectionState })
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
