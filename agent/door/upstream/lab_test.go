package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/ushercluster/usher/transport/memnet"
)

// lab is a pool and the engine that it talks to, in one bubble.
type lab struct {
	*testing.T
	pool   *Pool
	net    *memnet.Net
	door   *memnet.Host
	ln     net.Listener
	dials  atomic.Int64
	engine sync.WaitGroup
}

// link is one connection as the engine has it.
type link struct {
	*testing.T
	net.Conn
	br *bufio.Reader
	n  int // counts from 0
}

// inLab runs fn with an engine that handles every connection by serve, and checks
// that in the end no connection and no goroutine is left.
func inLab(t *testing.T, cfg Config, serve func(l *link), fn func(l *lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		l := &lab{T: t, net: n, door: n.Host("door", "10.0.0.1")}
		ln, err := n.Host("engine", "10.0.0.2").Listen(t.Context(), "tcp", "10.0.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		l.ln = ln
		if cfg.Dial == nil {
			cfg.Dial = func(ctx context.Context) (net.Conn, error) {
				l.dials.Add(1)
				return l.door.DialContext(ctx, "tcp", "10.0.0.2:80")
			}
		}
		l.pool = NewPool(cfg)
		l.engine.Go(func() {
			for i := 0; ; i++ {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				l.engine.Go(func() {
					defer c.Close()
					serve(&link{T: t, Conn: c, br: bufio.NewReader(c), n: i})
				})
			}
		})
		fn(l)
		l.pool.CloseAll()
		ln.Close()
		l.engine.Wait()
		if got := n.Conns(); got != 0 {
			t.Errorf("%d ends of connections are left open", got)
		}
		if len(l.pool.live) != 0 {
			t.Errorf("the pool still knows %d connections", len(l.pool.live))
		}
	})
}

// request reads a request's head; nil at the end of the connection.
func (l *link) request() *http.Request {
	r, err := http.ReadRequest(l.br)
	if err != nil {
		return nil
	}
	return r
}

func (l *link) say(s string) {
	_, _ = io.WriteString(l.Conn, s) // the other side may be gone, by intent
}

// drain waits until the other side closes.
func (l *link) drain() { _, _ = io.Copy(io.Discard, l.br) }

// answering serves every request on a connection with the same answer.
func answering(answer string) func(*link) {
	return func(l *link) {
		for r := l.request(); r != nil; r = l.request() {
			_, _ = io.Copy(io.Discard, r.Body)
			l.say(answer)
		}
	}
}

// speaking says s after the first request and then closes.
func speaking(s string) func(*link) {
	return func(l *link) {
		if l.request() != nil {
			l.say(s)
		}
	}
}

const ok2 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func get() *Request { return &Request{Method: "GET", Target: "/", Host: "h"} }

// do runs one exchange to the end of its body.
func (l *lab) do(r *Request) (*Response, string, error) {
	l.Helper()
	resp, err := l.pool.RoundTrip(l.Context(), r)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	return resp, string(b), err
}

func (l *lab) mustDo(r *Request, status int, body string) *Response {
	l.Helper()
	resp, got, err := l.do(r)
	if err != nil {
		l.Fatalf("RoundTrip: %v", err)
	}
	if resp.Status != status || got != body {
		l.Fatalf("got %d %q, want %d %q", resp.Status, got, status, body)
	}
	return resp
}

// isErr reports a failure unless err is an E in its chain.
func isErr[E error](t *testing.T, err error) (e E) {
	t.Helper()
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want %T", err, err, e)
	}
	return e
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error %v, want %v", err, target)
	}
}
