package door

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/http1"
	"github.com/ushercluster/usher/agent/logs"
)

// Limits of HTTP/2, for one connection.
const (
	maxStreams   = 100     // RFC 9113 6.5.2 recommends no fewer
	streamWindow = 1 << 20 // for a request's body
	connWindow   = 4 << 20 // for all of them
	maxFrame     = 64 << 10
)

// secure is the part of a door that users reach over TLS: it makes the handshake, and
// hands those who speak HTTP/2 to net/http, which serves them by the whole way.
type secure struct {
	server *http.Server
	ready  chan net.Conn // *tls.Conn, for Accept
	done   chan struct{}
	once   sync.Once
	addr   net.Addr

	mu    sync.Mutex
	conns map[net.Conn]*clientConn
}

// tlsConfig is what a caller gives, made fit for a door.
func tlsConfig(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.NextProtos = []string{"h2", "http/1.1"}
	return c
}

func (d *Door) newSecure() *secure {
	s := &secure{ready: make(chan net.Conn), done: make(chan struct{}), addr: d.cfg.Users.Addr(), conns: map[net.Conn]*clientConn{}}
	s.server = &http.Server{
		Handler: d.counted(d.serveStream), ReadHeaderTimeout: headTimeout, IdleTimeout: keepAlive,
		MaxHeaderBytes: maxHeadBytes, DisableGeneralOptionsHandler: true,
		ErrorLog: logs.Std(d.log, zerolog.DebugLevel), ConnContext: s.context, ConnState: s.state,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame,
			MaxReceiveBufferPerConnection: connWindow, MaxReceiveBufferPerStream: streamWindow,
			SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: 30 * time.Second,
		},
	}
	return s
}

// begin makes the handshake of a user's connection.
func (s *secure) begin(c *clientConn) bool {
	tc, ok := c.Conn.(*tls.Conn)
	if !ok {
		_ = c.Close()
		return false
	}
	if err := tc.HandshakeContext(context.Background()); err != nil { // the server's look ends what takes too long
		_ = c.Close()
		return false
	}
	if tc.ConnectionState().NegotiatedProtocol != "h2" {
		return true
	}
	s.mu.Lock()
	s.conns[tc] = c
	s.mu.Unlock()
	select {
	case s.ready <- tc:
	case <-s.done:
		s.forget(tc)
		_ = c.Close()
	}
	return false
}

// Accept implements net.Listener for net/http's server, with connections whose handshake is
// done.
func (s *secure) Accept() (net.Conn, error) {
	select {
	case c := <-s.ready:
		return c, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (s *secure) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr implements net.Listener.
func (s *secure) Addr() net.Addr { return s.addr }

func (s *secure) context(ctx context.Context, nc net.Conn) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	return context.WithValue(ctx, connKey{}, s.conns[nc])
}

func (s *secure) state(nc net.Conn, state http.ConnState) {
	if state == http.StateClosed {
		if c := s.forget(nc); c != nil {
			_ = c.Close() // with what belongs to it
		}
	}
}

func (s *secure) forget(nc net.Conn) *clientConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.conns[nc]
	delete(s.conns, nc)
	return c
}

// serve runs until Close.
func (s *secure) serve() error {
	if err := s.server.Serve(s); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// serveStream serves a request that came over HTTP/2, once http1 has found that it can be
// written as one of HTTP/1.1 in one way only: what an engine gets has passed the same eyes
// whatever it came by.
func (d *Door) serveStream(w http.ResponseWriter, r *http.Request) {
	c := connOf(r)
	if c.told != nil { // net/http has asked the connection below
		r.RemoteAddr = c.RemoteAddr().String()
	}
	leave, pr := d.admitStream(c)
	if pr != nil {
		d.turnDown(w, r, pr)
		return
	}
	defer leave()
	defer func() {
		if r.Context().Err() != nil {
			d.tookBack(c, r)
		}
	}()
	if !d.patient(r.Context(), c) {
		return
	}
	if bad := rewritten(r); bad != nil {
		d.malformed(w, r, bad)
		return
	}
	d.serveUser(w, r)
}

// rewritten reads the request's head as it would be written in HTTP/1.1.
func rewritten(r *http.Request) *http1.Error {
	b := make([]byte, 0, 4<<10)
	b = append(append(b, r.Method...), ' ')
	b = append(append(b, r.RequestURI...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\n"...)
	lines := 1
	for name, values := range r.Header {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), "\r\n"...)
			lines++
		}
	}
	b = append(b, "\r\n"...)
	var q http1.Request
	n, err := q.Parse(b, http1.Limits{Head: maxHeadBytes, Fields: maxHeadFields, Target: maxTargetLen})
	var bad *http1.Error
	switch {
	case errors.As(err, &bad):
		return bad
	case err != nil || n != len(b) || q.Len() != lines || string(q.AppendTarget(nil)) != r.RequestURI:
		return &http1.Error{Status: http.StatusBadRequest, Reason: "the head holds the end of a line"}
	case q.Chunked || q.WebSocket:
		return &http1.Error{Status: http.StatusBadRequest, Reason: "field of a connection in HTTP/2"}
	}
	return nil
}
