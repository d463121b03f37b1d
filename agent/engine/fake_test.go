package engine

import (
	"context"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

const fakeAddr = "127.0.0.1:3838"

// fake is an engine on an in-memory host that can be stopped and started.
type fake struct {
	t    *testing.T
	host *memnet.Host
	net  *memnet.Net
	srv  *http.Server
}

func newFake(t *testing.T) *fake {
	n := memnet.New()
	return &fake{t: t, net: n, host: n.Host("node", "10.0.0.1")}
}

func (f *fake) listen() net.Listener {
	f.t.Helper()
	ln, err := f.host.Listen(context.Background(), "tcp", fakeAddr)
	if err != nil {
		f.t.Fatal(err)
	}
	return ln
}

func (f *fake) serve(h http.Handler) {
	ln := f.listen()
	f.srv = &http.Server{Handler: h}
	go func() { _ = f.srv.Serve(ln) }()
	synctest.Wait()
}

func (f *fake) stop() {
	if f.srv != nil {
		_ = f.srv.Close()
		f.srv = nil
	}
}

// raw accepts connections and hands each to fn.
func (f *fake) raw(fn func(net.Conn)) (stop func()) {
	ln := f.listen()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go fn(c)
		}
	}()
	return func() { _ = ln.Close() }
}

func (f *fake) engine(change func(*Config)) *Engine {
	f.t.Helper()
	cfg, err := ParseFlag("fake=http://" + fakeAddr)
	if err != nil {
		f.t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg, Options{Dial: f.host.DialContext})
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// run runs e until the test ends the returned function.
func run(t *testing.T, e *Engine) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func wantHealth(t *testing.T, e *Engine, want peer.Health) {
	t.Helper()
	synctest.Wait()
	if s := e.Status(); s.Health != want {
		t.Errorf("after %v: %s (%s), want %s", time.Since(start), s.Health, s.Err, want)
	}
}

// start is when every bubble begins.
var start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func status(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}
