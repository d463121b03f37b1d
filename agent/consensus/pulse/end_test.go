package pulse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
)

// Whatever goes on, Run ends when it is told to, and leaves nothing: stop and run
// look at that.
func TestRunEndsAtAnyMoment(t *testing.T) {
	for ms := range 40 {
		t.Run(fmt.Sprint(ms), func(t *testing.T) {
			run(t, 3, func(l *lab) {
				l.net.SetDelay(3 * time.Millisecond)
				var wg sync.WaitGroup
				for _, s := range l.servers {
					s.cfg.Read = func(ctx context.Context) (uint64, error) {
						return 1, s.hub.Round(ctx, ids("abc"), 1)
					}
					s.start()
				}
				for i, s := range l.servers {
					next := l.servers[(i+1)%3].id
					work := func(ask func(*Hub)) {
						hub := s.hub
						wg.Go(func() {
							for !ended(hub) {
								ask(hub)
								time.Sleep(time.Millisecond)
							}
						})
					}
					work(func(h *Hub) { _ = h.Round(l.Context(), ids("abc"), 1) })
					work(func(h *Hub) { _, _ = h.Ask(l.Context(), next) })
					work(func(h *Hub) { _, _ = h.ReadIndex(l.Context(), next) })
					work(func(h *Hub) {
						if up, _ := h.AwaitUp(next); up != nil {
							<-up
						}
					})
				}
				time.Sleep(time.Duration(ms) * time.Millisecond)
				began := time.Now()
				for _, s := range l.servers {
					s.end()
				}
				for _, s := range l.servers {
					if err := <-s.done; err != nil {
						l.Error(err)
					}
					s.done <- nil // for stop
				}
				l.took(began, 0)
				wg.Wait()
			})
		})
	}
}

func ended(h *Hub) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

func TestEndFreesWhoeverAsks(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, others := l.played() // and never answer
		h := a.hub
		asks := map[string]func() error{
			"Round":     func() error { return h.Round(l.Context(), ids("abc"), 7) },
			"Ask":       func() error { _, err := h.Ask(l.Context(), nodeID('b')); return err },
			"ReadIndex": func() error { _, err := h.ReadIndex(l.Context(), nodeID('b')); return err },
		}
		type result struct {
			name string
			err  error
		}
		results := make(chan result, len(asks))
		for name, ask := range asks {
			go func() { results <- result{name, ask()} }()
		}
		synctest.Wait()
		if n := len(h.waiting); n != 3 {
			l.Fatalf("%d questions are open", n)
		}
		a.stop()
		for range asks {
			// The connections end at the same time.
			if r := <-results; !errors.Is(r.err, ErrEnded) && !errors.Is(r.err, ErrDown) {
				l.Errorf("%s: %v", r.name, r.err)
			}
		}
		for name, ask := range asks {
			if err := ask(); !errors.Is(err, ErrEnded) {
				l.Errorf("%s afterwards: %v", name, err)
			}
		}
		if err := h.Stand(nodeID('b'), 1, 1); !errors.Is(err, ErrDown) {
			l.Errorf("Stand afterwards: %v", err)
		}
		closeAll(others)
	})
}

// slowConn is a connection whose last write, or goodbye, takes its time.
type slowConn struct {
	net.Conn
	write, close time.Duration
}

func (c slowConn) Write(b []byte) (int, error) {
	time.Sleep(c.write)
	return c.Conn.Write(b)
}

func (c slowConn) Close() error {
	err := c.Conn.Close()
	time.Sleep(c.close)
	return err
}

func TestRunWaitsForItsConnections(t *testing.T) {
	for name, slow := range map[string]slowConn{
		"a write":   {write: second},
		"a goodbye": {close: second},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, func(l *lab) {
				a := l.servers[0]
				a.cfg.Dial = func(ctx context.Context, to peer.ID) (net.Conn, error) {
					c, err := a.dial(ctx, to)
					slow.Conn = c
					return slow, err
				}
				l.startAll()
				began := time.Now()
				a.stop()
				l.took(began, second)
			})
		})
	}
}

// TLS says goodbye when it closes, to a peer that may hang: nobody else waits for it.
func TestSlowCloseHoldsNobodyUp(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, b, c := l.servers[0], l.servers[1], l.servers[2]
		a.cfg.Dial = func(ctx context.Context, to peer.ID) (net.Conn, error) {
			conn, err := a.dial(ctx, to)
			return slowConn{Conn: conn, close: second}, err
		}
		l.startAll()
		began := time.Now()
		a.change(c.id)
		if _, err := a.hub.Ask(l.Context(), c.id); err != nil {
			l.Error(err)
		}
		l.took(began, 0)
		time.Sleep(second)
		synctest.Wait()
		a.alive("c")
		b.alive("c")
	})
}

// A connection whose first frame comes when the hub has ended, or its server is
// removed, is none.
func TestAdmitAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(h *Hub, cancel func()){
		"of the hub":        func(h *Hub, _ func()) { h.end() },
		"of the connection": func(_ *Hub, cancel func()) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			h := New(Config{Up: func(peer.ID) { t.Error("up") }})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			end(h, cancel)
			l := &link{peer: nodeID('b'), hangUp: cancel}
			if err := h.admit(ctx, l); !errors.Is(err, ErrEnded) || h.Alive(l.peer) || l.spoke {
				t.Errorf("admitted: %v", err)
			}
		})
	}
}

// brokenListener accepts nothing.
type brokenListener struct {
	net.Listener
	err error
}

func (l brokenListener) Accept() (net.Conn, error) { return nil, l.err }

func TestRunClosesTheListener(t *testing.T) {
	errBroken := errors.New("broken")
	for name, tc := range map[string]struct {
		err, want error
		end       bool // by the context
	}{
		"the context ends":   {nil, nil, true},
		"closed by another":  {net.ErrClosed, nil, false},
		"it fails otherwise": {errBroken, errBroken, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, func(l *lab) {
				a, b := l.servers[0], l.servers[1]
				a.cfg.Listener = a.ln
				if tc.err != nil {
					a.cfg.Listener = brokenListener{a.ln, tc.err}
				}
				ctx, cancel := context.WithCancel(l.Context())
				defer cancel()
				if tc.end {
					cancel()
				}
				if err := New(a.cfg).Run(ctx); !errors.Is(err, tc.want) {
					l.Errorf("Run: %v", err)
				}
				if _, err := b.dial(l.soon(time.Second), a.id); err == nil || errors.Is(err, context.DeadlineExceeded) {
					l.Errorf("the listener is open: %v", err)
				}
			})
		})
	}
}

func TestStats(t *testing.T) {
	run(t, 2, func(l *lab) {
		reg := prometheus.NewRegistry()
		a, b := l.servers[0], l.servers[1]
		a.cfg.Registerer = reg
		l.startAll()
		time.Sleep(9500 * time.Millisecond)
		want := map[string]float64{"usher_pulse_connections": 1, "usher_pulse_frames_sent_total": 10, "usher_pulse_frames_received_total": 10}
		check := func() {
			l.Helper()
			families, err := reg.Gather()
			if err != nil {
				l.Fatal(err)
			}
			for _, f := range families {
				m := f.GetMetric()[0]
				if got := m.GetGauge().GetValue() + m.GetCounter().GetValue(); got != want[f.GetName()] {
					l.Errorf("%s is %v, want %v", f.GetName(), got, want[f.GetName()])
				}
			}
			if len(families) != len(want) {
				l.Errorf("%d metrics", len(families))
			}
		}
		check()
		b.stop()
		synctest.Wait()
		want["usher_pulse_connections"] = 0
		check()
	})
}

// TestAllocations keeps a frame free of garbage, and a question at what it needs: two
// closures, its struct, its channel and a slice or two.
func TestAllocations(t *testing.T) {
	h := New(Config{Self: nodeID('a'), Now: time.Now, Facts: func() Facts { return Facts{Term: 1} }, Peers: func() []peer.ID { return nil }})
	l := &link{peer: nodeID('b'), outbox: make(chan frame, 1), hangUp: func() {}}
	h.links[l.peer] = l
	ctx := t.Context()
	measure := func(what string, most float64, f func()) {
		t.Helper()
		if got := testing.AllocsPerRun(200, f); got > most {
			t.Errorf("%s: %v allocations, want at most %v", what, got, most)
		} else {
			t.Logf("%s: %v allocations", what, got)
		}
	}
	buf := make([]byte, 0, frameSize)
	var wg sync.WaitGroup
	ask := frame{kind: kindAsk, nonce: 1}
	measure("an answer, from bytes to bytes", 0, func() {
		var f frame
		if err := f.parse(ask.append(buf[:0])); err != nil {
			t.Fatal(err)
		}
		h.heard(ctx, l, &f)
		h.handle(ctx, &wg, l, &f)
		f = <-l.outbox
		buf = f.append(buf[:0])
	})
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case f := <-l.outbox:
				f.kind = kindAnswer
				h.answered(l, &f)
			case <-stop:
				return
			}
			runtime.Gosched()
		}
	}()
	measure("a question", 6, func() {
		if _, err := h.Ask(ctx, l.peer); err != nil {
			t.Fatal(err)
		}
	})
	voters := ids("ab")
	measure("a round", 9, func() {
		if err := h.Round(ctx, voters, 1); err != nil {
			t.Fatal(err)
		}
	})
}
