package door

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// bound opens a session whose engine is not beside door nodes[0].
func (s *site) bound() (*browser, *node) {
	s.t.Helper()
	for range 50 {
		b := s.browser()
		a := b.ok(s.nodes[0], "/")
		if nd := s.named(a.seen.Engine); nd != s.nodes[0] {
			b.ok(s.nodes[0], "/") // now the connection knows the cookie: what follows may go the short way
			return b, nd
		}
		b.leaveConnections()
	}
	s.t.Fatal("no session came to another node")
	return nil, nil
}

func TestOwnerKilled(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		was := b.cookies[cookieName]
		s.kill(owner)
		a := b.ok(s.nodes[0], "/next")
		if a.seen.Engine == owner.name || a.seen.Header.Get(fieldMovedFrom) != owner.name {
			t.Errorf("served by %s, moved from %q", a.seen.Engine, a.seen.Header.Get(fieldMovedFrom))
		}
		if b.cookies[cookieName] == was {
			t.Error("no new cookie was set")
		}
		again := b.ok(s.nodes[0], "/next")
		if again.seen.Engine != a.seen.Engine || again.seen.Hits != 2 || again.seen.Header.Get(fieldMovedFrom) != "" {
			t.Errorf("next request: %+v", again.seen)
		}
		if got := s.nodes[0].door.Counters().Moves; got != 1 {
			t.Errorf("%d moves counted", got)
		}
	})
}

// A browser asks for many things at once with the old cookie: they must not be
// spread over the engines that are left.
func TestRequestsMoveTogether(t *testing.T) {
	bubble(t, 5, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.kill(owner)
		var mu sync.Mutex
		engines := map[string]int{}
		var wait sync.WaitGroup
		for range 12 {
			each := &browser{s: s, cookies: map[string]string{cookieName: b.cookies[cookieName]}, client: b.client}
			wait.Go(func() {
				a := each.ok(s.nodes[0], "/part")
				mu.Lock()
				engines[a.seen.Engine]++
				mu.Unlock()
			})
		}
		wait.Wait()
		if len(engines) != 1 {
			t.Errorf("one session went to %v", engines)
		}
	})
}

// Two doors that move a session in turns, there and back, do not send it after what each
// of them remembers.
func TestTwoDoorsMoveInTurns(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		one, two := s.nodes[0], s.nodes[1]
		s.change(func(set *Settings) { set.Place.FailAfter = 0 })
		flip := func(dead, alive *node) {
			dead.engine.die()
			if a := b.ok(alive, "/"); a.seen.Engine != alive.name {
				t.Fatalf("while %s is dead: %+v", dead.name, a.seen)
			}
			dead.engine.start(t)
			dead.engine.setHealth(peer.Healthy)
		}
		if owner != two {
			t.Fatal("the session is not where it should be")
		}
		flip(two, one) // door one remembers: two -> one
		flip(one, two) // door two remembers: one -> two
		for range 4 {
			for _, at := range s.nodes {
				if a := b.ok(at, "/"); a.seen.Engine != two.name {
					t.Errorf("door %s sends it to %s", at.name, a.seen.Engine)
				}
			}
		}
	})
}

func TestEngineDeadAgentAlive(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		was := maps.Clone(b.cookies)
		owner.engine.die()
		a := b.get(s.nodes[0], "/")
		if a.status != http.StatusServiceUnavailable || a.code != "engine_dead" || retryAfter(a) != 5 {
			t.Errorf("at once: %d %s, retry after %d", a.status, a.code, retryAfter(a))
		}
		time.Sleep(3 * time.Second)
		if a = b.get(s.nodes[0], "/"); a.status != http.StatusServiceUnavailable || retryAfter(a) != 2 {
			t.Errorf("after 3 s: %d %s, retry after %d", a.status, a.code, retryAfter(a))
		}
		time.Sleep(2500 * time.Millisecond)
		if a = b.ok(s.nodes[0], "/"); a.seen.Engine == owner.name || a.seen.Header.Get(fieldMovedFrom) != owner.name {
			t.Errorf("after fail_after: %+v", a.seen)
		}
		// A request that was on its way with the old cookie follows, though the engine
		// is back.
		owner.engine.start(t)
		owner.engine.setHealth(peer.Healthy)
		late := &browser{s: s, cookies: was, client: b.client}
		if l := late.ok(s.nodes[0], "/"); l.seen.Engine != a.seen.Engine {
			t.Errorf("the session is at %s and %s", a.seen.Engine, l.seen.Engine)
		}
		owner.engine.die()
		time.Sleep(6 * time.Second) // the sweeper
		if n := len(owner.door.Sessions(nil)); n != 0 {
			t.Errorf("the dead engine still has %d sessions", n)
		}
	})
}

// The door learns from a refused connection itself, before any probe does.
func TestEngineRefuses(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		owner.engine.stop()
		if a := b.get(at, "/"); a.code != "engine_dead" || retryAfter(a) != 5 {
			t.Errorf("a session of it: %d %s, retry after %d", a.status, a.code, retryAfter(a))
		}
		// Nobody's work is there: a new session goes elsewhere at once.
		owner.engine.setHealth(peer.Healthy)
		for range 6 {
			c := s.browser()
			if a := c.ok(at, "/"); a.seen.Engine == owner.name || a.seen.Header.Get(fieldMovedFrom) != "" {
				t.Errorf("a new session: %+v", a.seen)
			}
			c.leaveConnections()
			owner.engine.setHealth(peer.Healthy)
		}
		if n := len(owner.door.Sessions(nil)); n != 1 {
			t.Errorf("%d sessions at the engine that refuses", n)
		}
	})
}

// What another door let through is looked at again by the owner, who knows which
// paths its engines keep for themselves.
func TestOwnerChecksPaths(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		before := owner.engine.requests()
		for target, want := range map[string]int{"/engine-api/reload": 404, "/.well-known/usher/reload": 404, "/page": 200} {
			h := http.Header{}
			claim{session: owner.door.Sessions(nil)[0].ID, engine: "app"}.write(h)
			resp, err := s.nodes[0].door.peers.to(owner.id).RoundTrip(context.Background(), &upstream.Request{Method: "GET", Target: target, Host: "a", Header: h})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.Status != want {
				t.Errorf("%s: %d, want %d", target, resp.Status, want)
			}
		}
		if n := owner.engine.requests() - before; n != 1 {
			t.Errorf("%d requests came to the engine", n)
		}
	})
}

func TestEngineComesBackInTime(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.die()
		if a := b.get(s.nodes[0], "/"); a.code != "engine_dead" {
			t.Fatalf("%d %s", a.status, a.code)
		}
		time.Sleep(2 * time.Second)
		owner.engine.start(t)
		owner.engine.setHealth(peer.Healthy)
		if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("the session moved to %s", a.seen.Engine)
		}
	})
}

// A busy engine is not dead: its sessions stay, new ones go elsewhere.
func TestEngineBusy(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.setHealth(peer.Unhealthy)
		time.Sleep(time.Minute)
		if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("a session of a busy engine moved to %s", a.seen.Engine)
		}
		for range 12 {
			c := s.browser()
			if a := c.ok(owner, "/"); a.seen.Engine == owner.name {
				t.Error("a busy engine got a new session")
			}
			c.leaveConnections()
		}
	})
}

func TestSlowEngineTimesOut(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		began := time.Now()
		a := b.get(s.nodes[0], "/")
		if a.status != http.StatusGatewayTimeout || a.code != "engine_timeout" {
			t.Errorf("%d %s", a.status, a.code)
		}
		if took := time.Since(began); took < 5*time.Minute || took > 5*time.Minute+3*time.Second {
			t.Errorf("the door waited %s", took)
		}
	})
}

func TestEngineGarbage(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.nodes[0].engine.stop()
		s.nodes[0].engine.raw = func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\nX: bare line feeds\n\n")
		}
		s.nodes[0].engine.start(t)
		b := s.browser()
		defer b.leaveConnections()
		a := b.get(s.nodes[0], "/")
		if a.status != http.StatusBadGateway || a.code != "bad_answer" || strings.Contains(a.body, "127.0.0.1") {
			t.Errorf("%d %s %q", a.status, a.code, a.body)
		}
		s.kill(s.nodes[0]) // which ends the engine's own accept loop too
	})
}

// The door cannot reach the owner, but another server can: nothing moves.
func TestRelay(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Cut(s.nodes[0].host, owner.host)
		s.dropIdle(s.nodes[0])
		a := b.ok(s.nodes[0], "/through")
		if a.seen.Engine != owner.name || a.seen.Hits != 3 {
			t.Errorf("served by %s as its %d. request", a.seen.Engine, a.seen.Hits)
		}
		if got := a.seen.Header.Get(fieldDoor); got != s.nodes[0].name {
			t.Errorf("the engine saw the door %q", got)
		}
		for name := range a.seen.Header {
			switch name {
			case fieldVia, fieldClient, fieldEngine, fieldAge, fieldOpen:
				t.Errorf("the engine saw %s", name)
			}
		}
		s.net.HealAll()
	})
}

// A door that was cut off moved a session for a user who never heard of it: when the owner is
// back, its work is there, and so is the session. If the user has heard, he stays.
func TestMovesOfADoorThatWasCutOff(t *testing.T) {
	for _, heard := range []bool{false, true} {
		bubble(t, 3, func(s *site) {
			b, owner := s.bound()
			defer b.leaveConnections()
			was := maps.Clone(b.cookies)
			s.gossip(owner, peer.StatusFailed)
			moved := b.ok(s.nodes[0], "/")
			if moved.seen.Engine == owner.name {
				t.Fatal("the session did not move")
			}
			if heard {
				b.ok(s.nodes[0], "/")
			}
			late := &browser{s: s, cookies: maps.Clone(was), client: b.client}
			if a := late.ok(s.nodes[0], "/"); a.seen.Engine != moved.seen.Engine {
				t.Errorf("while the owner is lost it is at %s, and at %s", moved.seen.Engine, a.seen.Engine)
			}
			s.gossip(owner, peer.StatusAlive)
			want := owner.name
			if heard {
				want = moved.seen.Engine
			}
			late = &browser{s: s, cookies: maps.Clone(was), client: b.client}
			if a := late.ok(s.nodes[0], "/"); a.seen.Engine != want {
				t.Errorf("heard %v: the session is at %s, not at %s", heard, a.seen.Engine, want)
			}
		})
	}
}

// dropIdle closes a door's idle connections to other doors.
func (s *site) dropIdle(nd *node) {
	nd.door.peers.drop(func(peer.ID) bool { return true })
	synctest.Wait()
}

// Two servers cannot reach the owner: it is lost, whatever gossip says still.
func TestRelayCannotReachEither(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		for _, nd := range s.others(owner) {
			s.dropIdle(nd)
		}
		a := b.ok(s.nodes[0], "/")
		if a.seen.Engine == owner.name || a.seen.Header.Get(fieldMovedFrom) != owner.name {
			t.Errorf("%+v", a.seen)
		}
		s.net.HealAll()
	})
}

// With two nodes there is nobody to ask: the session stays until gossip decides.
func TestOwnerCutOffOfTwo(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		s.dropIdle(s.nodes[0])
		a := b.get(s.nodes[0], "/")
		if a.status != http.StatusServiceUnavailable || a.code != "owner_unreachable" || retryAfter(a) == 0 {
			t.Errorf("%d %s, retry after %d", a.status, a.code, retryAfter(a))
		}
		s.gossip(owner, peer.StatusFailed)
		if a = b.ok(s.nodes[0], "/"); a.seen.Engine != s.nodes[0].name {
			t.Errorf("%+v", a.seen)
		}
		s.net.HealAll()
	})
}

// With nobody to ask, a request that waits for a node that is cut off moves as soon as
// gossip has given the node up, if it can be sent twice.
func TestOwnerLostWhileAnswering(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		go func() {
			time.Sleep(8 * time.Second)
			s.gossip(owner, peer.StatusFailed)
		}()
		began := time.Now()
		a := b.ok(s.nodes[0], "/")
		if took := time.Since(began); took < 8*time.Second || took > 10*time.Second {
			t.Errorf("it took %s", took)
		}
		if a.seen.Engine == owner.name {
			t.Error("served by the lost node")
		}
		s.net.HealAll()
	})
}

func TestPostIsNotSentTwice(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
		before := owner.engine.requests()
		a, err := b.do(s.nodes[0], http.MethodPost, "/order", "one")
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusBadGateway || a.code != "connection_lost" || retryAfter(a) == 0 {
			t.Errorf("%d %s", a.status, a.code)
		}
		if n := owner.engine.requests() - before; n != 1 {
			t.Errorf("the engine got the order %d times", n)
		}
		// One that may be repeated is, once.
		before = owner.engine.requests()
		if a = b.get(s.nodes[0], "/list"); a.code != "connection_lost" {
			t.Errorf("%d %s", a.status, a.code)
		}
		if n := owner.engine.requests() - before; n < 2 || n > 4 {
			t.Errorf("a GET was tried %d times", n)
		}
	})
}

// A POST that reached no engine goes to the new one with its body.
func TestPostMovesWhenNotSent(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.die()
		time.Sleep(6 * time.Second)
		a, err := b.do(s.nodes[0], http.MethodPost, "/order", "one")
		if err != nil {
			t.Fatal(err)
		}
		if a.status != http.StatusOK || a.seen.Body != "one" || a.seen.Engine == owner.name {
			t.Errorf("%d %s %+v", a.status, a.code, a.seen)
		}
	})
}

func TestClientGone(t *testing.T) {
	for _, where := range []string{"local", "remote"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				b, owner := s.bound()
				at := s.nodes[0]
				if where == "local" {
					at = owner
				}
				ended := make(chan time.Time, 1)
				owner.engine.on(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					ended <- time.Now()
				})
				b.client.Timeout = 10 * time.Second
				if _, err := b.do(at, http.MethodGet, "/long", ""); err == nil {
					t.Error("there was an answer")
				}
				left := time.Now()
				select {
				case at := <-ended:
					if took := at.Sub(left); took > time.Second {
						t.Errorf("the engine heard of it after %s", took)
					}
				case <-time.After(5 * time.Second):
					t.Error("the engine's request goes on")
				}
				synctest.Wait()
				if l := owner.door.Loads()[0]; l.InFlight != 0 || l.Sessions == 0 {
					t.Errorf("load after: %+v", l)
				}
				b.leaveConnections()
			})
		})
	}
}
