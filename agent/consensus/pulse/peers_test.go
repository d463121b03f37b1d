package pulse

import (
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

func TestChanged(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, b, c := l.servers[0], l.servers[1], l.servers[2]
		for _, s := range l.servers {
			s.setPeers(slices.DeleteFunc(l.others(s), func(id peer.ID) bool { return id == c.id })...)
		}
		c.setPeers(a.id, b.id)
		l.startAll()
		a.alive("b")
		b.alive("a")
		c.alive("")

		a.change(b.id, c.id)
		b.setPeers(a.id, c.id) // does not say so
		a.alive("bc")
		time.Sleep(5 * time.Second)
		b.alive("a")
		b.hub.Changed()
		synctest.Wait()
		b.alive("ac")
		c.alive("ab")

		a.change(b.id)
		a.alive("b")
		c.alive("b")
		if got, ok := a.hub.Latest(c.id); ok {
			l.Errorf("a still knows of c: %+v", got)
		}
		c.change(b.id) // which is dialled
		b.change(a.id) // which dials
		dials := b.dials.Load()
		time.Sleep(time.Minute)
		a.alive("b")
		b.alive("a")
		c.alive("")
		if b.dials.Load() != dials {
			l.Error("b dials c, which is no server any more")
		}
		if got, ok := b.hub.Latest(c.id); ok {
			l.Errorf("b still knows of c: %+v", got)
		}
		a.heard("up b", "up c", "down c")
		b.heard("up a", "up c", "down c")
	})
}

func TestRemovedServerThatDialsIsClosed(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		l.startAll()
		b.change() // a dials b, and was not told
		b.alive("")
		dials := a.dials.Load()
		time.Sleep(time.Minute)
		if n := a.dials.Load() - dials; n < 50 || n > 130 {
			l.Errorf("a dialled %d times in a minute", n)
		}
		b.heard("up a", "down a")
		a.heard("up b", "down b") // though every dial was accepted
		b.change(a.id)
		time.Sleep(time.Second)
		a.alive("b")
		b.alive("a")
	})
}

func TestStrangersAreClosed(t *testing.T) {
	run(t, 3, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.setPeers(b.id)
		a.start()
		for name, host := range map[string]*memnet.Host{
			"nobody of ours":    l.net.Host("x", "10.0.0.99"),
			"no server of ours": l.servers[2].host,
		} {
			c, err := host.DialContext(l.Context(), "tcp", "a"+addr)
			if err != nil {
				l.Fatal(err)
			}
			began := time.Now()
			if got, err := io.ReadAll(c); len(got) != 0 || err != nil {
				l.Errorf("%s: read %d bytes, %v", name, len(got), err)
			}
			l.took(began, 0)
			c.Close()
		}
		a.heard()
	})
}

// A server may be removed between the accept and its first frame.
func TestRemovedBeforeItSpoke(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.start()
		w := a.call(b)
		b.change()
		w.send(frame{kind: kindBeat})
		if got := w.over(); got != 0 {
			l.Errorf("it lived for %v", got)
		}
		b.alive("")
		if got, ok := b.hub.Latest(a.id); ok {
			l.Errorf("b knows of a: %+v", got)
		}
	})
}

func TestMalformedFrameEndsTheConnection(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		_, _ = w.Write(make([]byte, frameSize))
		if got := w.over(); got != 0 {
			l.Errorf("it lived for %v", got)
		}
		a.heard("up b", "down b")
	})
}

func TestUnknownKindIsPassedOver(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		a.start()
		w := b.accept()
		w.send(frame{kind: 200, boot: 5, argNode: a.id}, frame{kind: 0, nonce: 1})
		w.send(frame{kind: kindAsk, nonce: 9})
		if f := w.next(kindAnswer); f.nonce != 9 {
			l.Errorf("answered %d", f.nonce)
		}
		w.Close()
	})
}
