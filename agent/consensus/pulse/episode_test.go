package pulse

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

func TestUpAndDownOncePerEpisode(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		l.startAll()
		for range 3 {
			time.Sleep(time.Minute)
			l.net.Isolate(b.host)
			time.Sleep(time.Minute)
			l.net.HealAll()
		}
		time.Sleep(time.Minute)
		a.heard("up b", "down b", "up b", "down b", "up b", "down b", "up b")
		b.heard("up a", "down a", "up a", "down a", "up a", "down a", "up a")
		a.stop()
		synctest.Wait()
		a.heard("down b")
		b.heard("down a")
	})
}

// A connection that comes while Down is being told must not be told before it.
func TestUpWaitsForDown(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		var next wire
		var once sync.Once
		b.cfg.Down = func(peer.ID) {
			once.Do(func() {
				_, _ = next.Write((&frame{kind: kindBeat}).append(nil))
			})
			for range 10000 { // a lock that is waited for keeps a bubble from idling: no sleep
				runtime.Gosched()
			}
			b.note("down")
		}
		b.start()
		first := a.call(b)
		first.send(frame{kind: kindBeat})
		next = a.call(b)
		first.Close()
		synctest.Wait()
		b.heard("up a", "down", "up a")
		next.Close()
	})
}

// A TLS client is connected before the other side has judged it, so a dial says
// nothing yet.
func TestSilentServerIsNotUp(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		up, cancel := a.hub.AwaitUp(b.id)
		defer cancel()
		c, err := b.ln.Accept()
		if err != nil {
			l.Fatal(err)
		}
		time.Sleep(silentFor - time.Millisecond)
		a.alive("")
		select {
		case <-up:
			l.Error("up before the first frame")
		default:
		}
		w := wire{l.T, c}
		if got := w.over(); got != time.Millisecond {
			l.Errorf("the connection ended %v too late", got)
		}
		a.heard()
	})
}

func TestAwaitUp(t *testing.T) {
	closed := func(ch <-chan struct{}) bool {
		synctest.Wait()
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	pair := func(t *testing.T, body func(l *lab, a, b *server)) {
		run(t, 2, func(l *lab) { body(l, l.servers[0], l.servers[1]) })
	}
	t.Run("up already", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			l.startAll()
			up, cancel := a.hub.AwaitUp(b.id)
			if up != nil {
				l.Error("there is something to wait for")
			}
			cancel()
		})
	})
	t.Run("up later", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			a.start()
			up, cancel := a.hub.AwaitUp(b.id)
			other, cancel2 := a.hub.AwaitUp(b.id)
			time.Sleep(time.Minute)
			if closed(up) || closed(other) {
				l.Error("closed before b was up")
			}
			b.start()
			time.Sleep(2 * time.Second)
			if !closed(up) || !closed(other) {
				l.Error("b is up, and somebody does not know")
			}
			cancel()
			cancel2()
		})
	})
	t.Run("up again", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			l.startAll()
			l.net.Isolate(b.host)
			time.Sleep(time.Minute)
			up, cancel := a.hub.AwaitUp(b.id)
			defer cancel()
			if up == nil || closed(up) {
				l.Fatal("b is away, and nobody waits")
			}
			l.net.HealAll()
			<-up
			a.alive("b")
		})
	})
	t.Run("removed", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			a.start()
			up, cancel := a.hub.AwaitUp(b.id)
			defer cancel()
			synctest.Wait()
			a.change()
			if !closed(up) {
				l.Error("waits for a server that is none")
			}
			if up, _ := a.hub.AwaitUp(b.id); up != nil {
				l.Error("begins to wait for a server that is none")
			}
			if n := len(a.hub.up); n != 0 {
				l.Errorf("%d left", n)
			}
		})
	})
	t.Run("the hub ends", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			a.start()
			h := a.hub
			up, cancel := h.AwaitUp(b.id)
			defer cancel()
			a.stop()
			if !closed(up) {
				l.Error("waits for a hub that has ended")
			}
			if up, _ := h.AwaitUp(b.id); up != nil {
				l.Error("begins to wait when the hub has ended")
			}
		})
	})
	t.Run("cancel", func(t *testing.T) {
		pair(t, func(l *lab, a, b *server) {
			a.start()
			first, cancel1 := a.hub.AwaitUp(b.id)
			next, cancel2 := a.hub.AwaitUp(b.id)
			cancel1()
			cancel1()
			if len(a.hub.up[b.id]) != 1 {
				l.Errorf("%d wait", len(a.hub.up[b.id]))
			}
			b.start()
			time.Sleep(2 * time.Second)
			if closed(first) || !closed(next) {
				l.Error("the wrong one was cancelled")
			}
			cancel2()
			b.stop()
			synctest.Wait()
			_, cancel3 := a.hub.AwaitUp(b.id)
			cancel3()
			if len(a.hub.up) != 0 {
				l.Errorf("left behind: %v", a.hub.up)
			}
		})
	})
}

// The functions of Config take locks of their caller, who may hold them while
// asking the hub: so the hub must hold none when it calls them.
func TestCallbacksMayCallTheHub(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		for _, s := range l.servers {
			ask := func() {
				if s.hub != nil {
					s.hub.Alive(nodeID('z'))
					s.hub.Latest(nodeID('z'))
				}
			}
			facts, peers, up, down := s.cfg.Facts, s.cfg.Peers, s.cfg.Up, s.cfg.Down
			s.cfg.Facts = func() Facts { ask(); return facts() }
			s.cfg.Peers = func() []peer.ID { ask(); return peers() }
			s.cfg.Up = func(id peer.ID) {
				s.hub.Gone(id, 1)
				s.hub.AwaitUp(id)
				up(id)
			}
			s.cfg.Down = func(id peer.ID) {
				s.hub.Gone(id, 1)
				_, cancel := s.hub.AwaitUp(id)
				cancel()
				down(id)
			}
			s.cfg.Gone, s.cfg.Stand = nil, nil
		}
		l.startAll()
		a.heard("up b")
		if err := a.hub.Stand(b.id, 1, 1); err != nil {
			l.Error(err)
		}
		if _, err := a.hub.Ask(l.Context(), b.id); err != nil {
			l.Error(err)
		}
		if err := a.hub.Round(l.Context(), []peer.ID{a.id, b.id}, 1); err != nil {
			l.Error(err)
		}
		b.end()
		synctest.Wait()
		a.heard("down b")
	})
}
