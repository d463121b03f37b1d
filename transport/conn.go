package transport

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// Conn is an authenticated connection of the cluster port. It hides the *tls.Conn
// below, because http.Server closes TLS connections whose ALPN name it does not
// know.
type Conn struct {
	net.Conn
	tls   *tls.Conn
	peer  Identity
	proto Proto
	once  sync.Once
	err   error
	untie func(*Conn)
}

// Peer is who the other side proved to be; the zero Identity on usher/join/1.
func (c *Conn) Peer() Identity { return c.peer }

// Proto is the protocol that was agreed.
func (c *Conn) Proto() Proto { return c.proto }

// NetConn is the connection below, as *tls.Conn has it.
func (c *Conn) NetConn() net.Conn { return c.tls }

// CloseWrite tells the other side that nothing more will be written.
func (c *Conn) CloseWrite() error { return c.tls.CloseWrite() }

// Close closes the connection. It may be called more than once and from any
// goroutine.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.untie(c)
		c.err = c.tls.Close()
	})
	return c.err
}

// PeerOf returns who is on the other side of an accepted connection.
func PeerOf(c net.Conn) (Identity, bool) {
	tc, ok := c.(*Conn)
	if !ok || tc.peer.ID == "" {
		return Identity{}, false
	}
	return tc.peer, true
}

type peerKey struct{}

// ConnContext is for http.Server.ConnContext: handlers find the caller's identity
// with FromContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if id, ok := PeerOf(c); ok {
		return context.WithValue(ctx, peerKey{}, id)
	}
	return ctx
}

// FromContext returns the identity that ConnContext put there.
func FromContext(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(peerKey{}).(Identity)
	return id, ok
}

// protoListener is what Port.Listen returns: connections of one protocol.
type protoListener struct {
	port  *Port
	proto Proto
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (l *protoListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: the protocol is refused from now on.
func (l *protoListener) Close() error {
	l.once.Do(func() {
		l.port.forget(l)
		close(l.done)
		for {
			select {
			case c := <-l.conns:
				c.Close()
			default:
				return
			}
		}
	})
	return nil
}

// Addr implements net.Listener.
func (l *protoListener) Addr() net.Addr { return l.port.ln.Addr() }
