package pulse

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/transport/memnet"
)

func TestOneConnectionForEachPair(t *testing.T) {
	for _, n := range []int{2, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			run(t, n, func(l *lab) {
				l.startAll()
				check := func() {
					for i, s := range l.servers {
						s.alive("abcde"[:i] + "abcde"[i+1:n])
						if want := int32(n - 1 - i); s.dials.Load() != want {
							l.Errorf("%s dialled %d times, want %d: those with higher IDs", s.id, s.dials.Load(), want)
						}
					}
					if got, want := l.net.Conns(), n*(n-1); got != want {
						l.Errorf("%d ends of connections, want %d", got, want)
					}
				}
				check()
				time.Sleep(time.Minute)
				check()
			})
		})
	}
}

func TestBeats(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		defer w.ticking()()
		began := time.Now()
		for i := range 10 {
			f := w.next(kindBeat)
			l.took(began, time.Duration(i)*second)
			if diff := cmp.Diff(*a.facts.Load(), f.Facts); diff != "" {
				l.Errorf("beat %d (-want +got):\n%s", i, diff)
			}
			a.setTerm(uint64(i + 10))
		}
		w.Close()
	})
}

func TestLatest(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.cfg.Boot = 7
		b.cfg.Now = func() time.Time { return time.Now().Add(90 * time.Second) }
		l.net.SetDelay(10 * time.Millisecond)
		a.start()
		time.Sleep(time.Second / 2)
		if got, ok := a.hub.Latest(b.id); ok {
			l.Errorf("b never spoke, and said %+v", got)
		}
		b.start()
		time.Sleep(1600 * time.Millisecond)
		want := Beat{Facts: *b.facts.Load(), Boot: 7, Ahead: 90*time.Second - 10*time.Millisecond}
		got, ok := a.hub.Latest(b.id)
		if since := time.Since(got.Received); since < 0 || since >= second {
			l.Errorf("received %v ago", since)
		}
		got.Received = time.Time{}
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			l.Errorf("b said (-want +got):\n%s", diff)
		}
		if got, _ := b.hub.Latest(a.id); got.Ahead != -90*time.Second-10*time.Millisecond {
			l.Errorf("a is ahead by %v", got.Ahead)
		}
		b.stop()
		time.Sleep(time.Minute)
		a.alive("")
		if got, ok := a.hub.Latest(b.id); !ok || got.Boot != 7 {
			l.Errorf("what b said last is %+v, %v", got, ok)
		}
	})
}

func TestReceivedIsByOurClock(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		year := 365 * 24 * time.Hour
		a.cfg.Now = func() time.Time { return time.Now().Add(year) }
		l.startAll()
		got, _ := a.hub.Latest(b.id)
		if want := time.Now().Add(year); !got.Received.Equal(want) {
			l.Errorf("received at %v, want %v", got.Received, want)
		}
	})
}

func TestSilenceEndsAConnection(t *testing.T) {
	cuts := map[string]func(n *memnet.Net, a, b *server){
		"isolated":        func(n *memnet.Net, _, b *server) { n.Isolate(b.host) },
		"cut from dialer": func(n *memnet.Net, a, b *server) { n.CutOneWay(a.host, b.host) },
		"cut to dialer":   func(n *memnet.Net, a, b *server) { n.CutOneWay(b.host, a.host) },
	}
	for name, cut := range cuts {
		for _, lasts := range []time.Duration{5 * time.Second, 20300 * time.Millisecond, 63700 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s for %v", name, lasts), func(t *testing.T) {
				run(t, 2, func(l *lab) {
					a, b := l.servers[0], l.servers[1]
					l.startAll()
					time.Sleep(10 * time.Second)
					synctest.Wait() // the beats of this second have arrived
					cut(l.net, a, b)
					time.Sleep(silentFor - time.Millisecond)
					a.alive("b")
					b.alive("a")
					time.Sleep(2 * time.Millisecond)
					a.alive("")
					b.alive("")
					time.Sleep(lasts - silentFor)
					l.net.HealAll()
					time.Sleep(2 * time.Second)
					a.alive("b")
					b.alive("a")
					a.heard("up b", "down b", "up b")
					b.heard("up a", "down a", "up a")
					if n := l.net.Conns(); n != 2 {
						l.Errorf("%d ends of connections, want 2", n)
					}
				})
			})
		}
	}
}

// A server that goes on talking, and does not read.
func TestWriteThatHangsEndsTheConnection(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		defer w.ticking()()
		out := a.hub.links[b.id].outbox
		for len(out) == 0 { // until the connection takes no more
			_ = a.hub.Stand(b.id, 1, 1)
			if synctest.Wait(); len(a.hub.links) == 0 {
				l.Fatal("the outbox was full before")
			}
		}
		time.Sleep(writingFor - time.Millisecond)
		a.alive("b")
		time.Sleep(2 * time.Millisecond)
		a.alive("")
		w.Close()
	})
}

func TestHalfAFrameIsSilence(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		_, _ = w.Write(make([]byte, frameSize-1))
		if got := w.over(); got != silentFor {
			l.Errorf("ended after %v", got)
		}
	})
}

func TestRestartedServerReplacesItsConnection(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1] // a is played by the test and dials
		b.start()
		first := a.call(b)
		first.send(frame{kind: kindBeat, boot: 1})
		next := a.call(b)
		next.send(frame{kind: kindBeat, boot: 2})
		if got := first.over(); got != 0 {
			l.Errorf("the old connection lived for %v", got)
		}
		b.alive("a")
		if got, _ := b.hub.Latest(a.id); got.Boot != 2 {
			l.Errorf("the boot is %d", got.Boot)
		}
		b.heard("up a")
		next.Close()
		synctest.Wait()
		b.heard("down a")
	})
}

func TestRestartIsNoticedAtOnce(t *testing.T) {
	for name, restarted := range map[string]int{"the one that dials": 0, "the one that is dialled": 1} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, func(l *lab) {
				l.startAll()
				s, other := l.servers[restarted], l.servers[1-restarted]
				time.Sleep(time.Minute)
				l.net.Reset(s.host) // a crash; what is left of its hub is only a shell
				s.stop()
				synctest.Wait()
				other.alive("")
				s.cfg.Boot = 2
				s.listen()
				s.start()
				time.Sleep(redialFirst)
				synctest.Wait()
				other.alive(string(s.id[:1]))
				if got, _ := other.hub.Latest(s.id); got.Boot != 2 {
					l.Errorf("the boot is %d", got.Boot)
				}
			})
		})
	}
}

// A frame that was read already when its connection was replaced, or its server
// removed, must not overwrite what is known.
func TestLateFrameIsNotKept(t *testing.T) {
	h := New(Config{})
	ctx, cancel := context.WithCancel(t.Context())
	l := &link{peer: nodeID('b')}
	h.heard(ctx, l, &frame{boot: 2})
	cancel()
	h.heard(ctx, l, &frame{boot: 1})
	if got, _ := h.Latest(l.peer); got.Boot != 2 {
		t.Errorf("the boot is %d", got.Boot)
	}
}

// TestFullOutboxDropsFrames has a server pause: it loses frames, and not its connection.
func TestFullOutboxDropsFrames(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		defer w.ticking()()
		began := time.Now()
		sent := 0
		for ; sent < 100000 && a.hub.Stand(b.id, 1, 1) == nil; sent++ {
			if sent%outboxLength == 0 {
				synctest.Wait() // the writer writes what the connection takes
			}
		}
		l.took(began, 0)
		if sent < 4*outboxLength || sent == 100000 {
			l.Errorf("it was full after %d frames", sent)
		}
		time.Sleep(writingFor - 100*time.Millisecond)
		a.alive("b")
		go func() { _, _ = io.Copy(io.Discard, w) }() // it reads again
		time.Sleep(time.Minute)
		a.heard("up b")
		if err := a.hub.Stand(b.id, 1, 1); err != nil {
			l.Error(err)
		}
		w.Close()
	})
}

// TestAnswersWaitForRoom asks much at once and then reads the answers.
func TestAnswersWaitForRoom(t *testing.T) {
	run(t, 2, func(l *lab) {
		const n = 20 * outboxLength
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		var asks []byte
		for i := range n {
			asks = (&frame{kind: kindAsk, nonce: uint64(i + 1)}).append(asks)
		}
		done := make(chan error)
		go func() {
			_, err := w.Write(asks)
			done <- err
		}()
		time.Sleep(second)
		for i := range n {
			if f := w.next(kindAnswer); f.nonce != uint64(i+1) {
				l.Fatalf("answer %d is to question %d", i+1, f.nonce)
			}
		}
		if err := <-done; err != nil {
			l.Error(err)
		}
		a.alive("b")
		w.Close()
	})
}

// TestAskerThatDoesNotRead asks much, and never reads an answer.
func TestAskerThatDoesNotRead(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		asks := bytes.Repeat((&frame{kind: kindAsk, nonce: 1}).append(nil), 100*outboxLength)
		go func() { _, _ = w.Write(asks) }()
		time.Sleep(writingFor - time.Millisecond)
		a.alive("b")
		time.Sleep(2 * time.Millisecond)
		a.alive("")
		w.Close()
	})
}

func TestBurstIsSent(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		l.startAll()
		for i := range outboxLength {
			if err := a.hub.Stand(b.id, 1, uint64(i)); err != nil {
				l.Fatal(err)
			}
		}
		synctest.Wait()
		b.mu.Lock()
		got := len(b.events)
		b.mu.Unlock()
		if got != 1+outboxLength { // "up a" before
			l.Errorf("b was told %d things", got)
		}
	})
}

func TestRedialPace(t *testing.T) {
	cases := map[string]struct {
		away               func(l *lab, b *server)
		first, firstMost   int32 // dials in the first second
		minute, minuteMost int32 // dials in a minute after it
	}{
		"refused": {func(_ *lab, b *server) { b.ln.Close() }, 4, 7, 60, 120},
		// Each of ours takes a second and begins anew, so that the next one after a heal is
		// not behind a retransmission that has backed off.
		"black hole": {func(l *lab, b *server) { l.net.Isolate(b.host) }, 1, 1, 30, 45},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			run(t, 2, func(l *lab) {
				a, b := l.servers[0], l.servers[1]
				tc.away(l, b)
				a.start()
				time.Sleep(second - time.Millisecond)
				if n := a.dials.Load(); n < tc.first || n > tc.firstMost {
					l.Errorf("%d dials in the first second", n)
				}
				before := a.dials.Load()
				time.Sleep(time.Minute)
				if n := a.dials.Load() - before; n < tc.minute || n > tc.minuteMost {
					l.Errorf("%d dials in a minute", n)
				}
			})
		})
	}
}
