package door

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ushercluster/usher/agent/peer"
)

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		here  bool
		words []testimony
		want  standing
		via   peer.ID
	}{
		"answers":                     {here: true, want: present},
		"answers, others do not know": {here: true, words: []testimony{{"w", false}}, want: present},
		"nobody to ask":               {want: present},
		"the other does not either":   {words: []testimony{{"w", false}}, want: gone},
		"the other reaches it":        {words: []testimony{{"w", true}}, want: unheard, via: "w"},
		"one of two reaches it":       {words: []testimony{{"v", false}, {"w", true}}, want: unheard, via: "w"},
		"neither of two":              {words: []testimony{{"v", false}, {"w", false}}, want: gone},
	} {
		t.Run(name, func(t *testing.T) {
			if s, via := verdict(c.here, c.words); s != c.want || via != c.via {
				t.Errorf("%v via %q, want %v via %q", s, via, c.want, c.via)
			}
		})
	}
}

// within are the bounds of how long something may take.
func within(t *testing.T, began time.Time, low, high time.Duration) {
	t.Helper()
	if took := time.Since(began); took < low || took > high {
		t.Errorf("it took %s, want %s to %s", took, low, high)
	}
}

// A request that waits on a kept connection for a node that is cut off moves without
// gossip's word.
func TestOwnerCutOffWhileAnswering(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		began := time.Now()
		a := b.ok(s.nodes[0], "/")
		within(t, began, time.Second, 1400*time.Millisecond)
		if a.seen.Engine == owner.name || a.seen.Header.Get(fieldMovedFrom) != owner.name {
			t.Errorf("%+v", a.seen)
		}
		// What is known already costs no second wait: another session of that node.
		began = time.Now()
		for range 20 {
			c := s.browser()
			if a := c.ok(s.nodes[0], "/"); a.seen.Engine == owner.name {
				t.Error("a new session came to a node that is gone")
			}
			c.leaveConnections()
		}
		within(t, began, 0, 100*time.Millisecond)
		s.net.HealAll()
		time.Sleep(2 * time.Second)
		if st, _ := s.nodes[0].door.vigil.of(owner.id); st != present {
			t.Errorf("after the healing the node is %v", st)
		}
	})
}

// A witness that waits for a node in vain looks itself, so that users who come to it next need
// not be the first to notice.
func TestWitnessLooksItself(t *testing.T) {
	bubble(t, 5, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		b.ok(s.nodes[0], "/")
		time.Sleep(650 * time.Millisecond)
		know := 0
		for _, nd := range s.others(owner) {
			if st, _ := nd.door.vigil.of(owner.id); st == gone {
				know++
			}
		}
		if know < 4 {
			t.Errorf("%d doors know", know)
		}
	})
}

// What may have been served is not sent again, and the user hears of it as soon.
func TestPostToOwnerCutOff(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Isolate(owner.host)
		before := s.requests()
		began := time.Now()
		a, err := b.do(s.nodes[0], http.MethodPost, "/order", "one")
		if err != nil {
			t.Fatal(err)
		}
		within(t, began, time.Second, 1400*time.Millisecond)
		if a.status != http.StatusBadGateway || a.code != "connection_lost" {
			t.Errorf("%d %s", a.status, a.code)
		}
		if n := s.requests() - before; n != 0 {
			t.Errorf("%d engines got the order that was on its way to another", n)
		}
		s.net.HealAll()
	})
}

// requests counts those that came to any engine.
func (s *site) requests() int {
	n := 0
	for _, nd := range s.nodes {
		n += nd.engine.requests()
	}
	return n
}

// When another agent reaches the owner, the session stays where its work is.
func TestOwnerUnheardHere(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.net.Cut(s.nodes[0].host, owner.host)
		began := time.Now()
		a := b.ok(s.nodes[0], "/")
		within(t, began, time.Second, 1400*time.Millisecond)
		if a.seen.Engine != owner.name {
			t.Errorf("the session moved to %s", a.seen.Engine)
		}
		began = time.Now()
		if a = b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("then the session moved to %s", a.seen.Engine)
		}
		within(t, began, 0, 50*time.Millisecond)
		s.net.HealAll()
		time.Sleep(2 * time.Second)
		if a = b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("after the healing: %+v", a.seen)
		}
		if st, _ := s.nodes[0].door.vigil.of(owner.id); st != present {
			t.Errorf("after the healing the node is %v", st)
		}
	})
}

// With two nodes there is nobody to ask: a request waits until gossip decides, or the
// node is back.
func TestOwnerSilentOfTwo(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		back := time.AfterFunc(10*time.Second, owner.pause())
		defer back.Stop()
		began := time.Now()
		if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("%+v", a.seen)
		}
		within(t, began, 10*time.Second, 10*time.Second)
	})
}

// pause lets nothing of the node's agent answer until it is called off.
func (nd *node) pause() (resume func()) {
	over := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-over
		nd.inner.ServeHTTP(w, r)
	})
	nd.agents.Store(&h)
	return func() { nd.agents.Store(nil); close(over) }
}

// A pause that is shorter than node.fail_after costs nobody his work; a longer one ends
// in a move, and the node is used again afterwards.
func TestOwnerPauses(t *testing.T) {
	for _, c := range []struct {
		failAfter, pause time.Duration
		moves            bool
	}{
		{1200 * time.Millisecond, 900 * time.Millisecond, false},
		{1200 * time.Millisecond, 3 * time.Second, true},
		{10 * time.Second, 8 * time.Second, false},
		{10 * time.Second, 15 * time.Second, true},
	} {
		t.Run(fmt.Sprint(c.failAfter, " ", c.pause), func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				s.change(func(set *Settings) { set.Place.NodeFailAfter = c.failAfter })
				b, owner := s.bound()
				defer b.leaveConnections()
				time.AfterFunc(c.pause, owner.pause())
				began := time.Now()
				a := b.ok(s.nodes[0], "/")
				if moved := a.seen.Engine != owner.name; moved != c.moves {
					t.Errorf("moved: %v", moved)
				}
				if c.moves {
					within(t, began, c.failAfter*8/10, c.failAfter*12/10)
				} else {
					within(t, began, c.pause, c.pause+50*time.Millisecond)
				}
				time.Sleep(c.pause + 2*time.Second)
				if st, _ := s.nodes[0].door.vigil.of(owner.id); st != present {
					t.Errorf("after the pause the node is %v", st)
				}
			})
		})
	}
}

// An engine that thinks for long behind an agent that lives keeps its sessions.
func TestSlowAnswerIsNotSilence(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(40 * time.Second)
			w.WriteHeader(http.StatusTeapot)
		})
		began := time.Now()
		if a := b.get(s.nodes[0], "/"); a.status != http.StatusTeapot {
			t.Errorf("%d %s", a.status, a.code)
		}
		within(t, began, 40*time.Second, 40*time.Second)
	})
}

// A WebSocket waits all the time: it ends when its owner is silent, so that the
// browser comes back to another engine.
func TestSocketOfSilentOwner(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(echo)
		ws, _, err := b.dial(s.nodes[0], "/socket")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		time.Sleep(5 * time.Second) // well, for a while
		if n := s.nodes[0].door.sockets.count(); n != 1 {
			t.Fatalf("%d WebSockets while all is well", n)
		}
		s.net.Isolate(owner.host)
		began := time.Now()
		if code := <-ws.code; code != closeServiceRestart {
			t.Errorf("close code %d", code)
		}
		within(t, began, time.Second, 1500*time.Millisecond)
		s.net.HealAll()
	})
}

// Where this door alone does not reach the owner, the browser comes back to the same
// engine, through the other agent.
func TestSocketOfOwnerUnheardHere(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(echo)
		first, _, err := b.dial(s.nodes[0], "/socket")
		if err != nil {
			t.Fatal(err)
		}
		defer first.CloseNow()
		time.Sleep(5 * time.Second)
		s.net.Cut(s.nodes[0].host, owner.host)
		began := time.Now()
		if code := <-first.code; code != closeServiceRestart {
			t.Errorf("close code %d", code)
		}
		within(t, began, time.Second, 1500*time.Millisecond)
		before := owner.engine.requests()
		second, _, err := b.dial(s.nodes[0], "/socket")
		if err != nil {
			t.Fatal(err)
		}
		defer second.CloseNow()
		if n := owner.engine.requests() - before; n != 1 {
			t.Errorf("its engine got %d requests, want the WebSocket's", n)
		}
		select { // though this door goes on asking the owner in vain
		case code := <-second.code:
			t.Errorf("it ended with %d", code)
		case <-time.After(10 * time.Second):
		}
		s.net.HealAll()
	})
}

// An agent that is late with one answer and says something else meanwhile is there: its
// WebSockets go on. One that only ever says something else is not.
func TestLateButNotSilent(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(echo)
		ws, _, err := b.dial(s.nodes[0], "/socket")
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		chatter := func(d time.Duration) {
			for range d / (400 * time.Millisecond) { // long enough apart to be asked
				ws.say(t, "still here")
				time.Sleep(400 * time.Millisecond)
			}
		}
		for range 5 {
			resume := owner.pause() // of requests; what is open goes on
			chatter(1600 * time.Millisecond)
			resume()
			chatter(time.Second)
		}
		select {
		case code := <-ws.code:
			t.Fatalf("it ended with %d", code)
		default:
		}
		if st, _ := s.nodes[0].door.vigil.of(owner.id); st != present {
			t.Errorf("the node is %v", st)
		}
		defer owner.pause()()
		began := time.Now()
		for {
			select {
			case code := <-ws.code:
				if code != closeServiceRestart {
					t.Errorf("close code %d", code)
				}
				within(t, began, 1500*time.Millisecond, 2500*time.Millisecond)
				return
			case <-time.After(400 * time.Millisecond):
				_ = ws.Write(context.Background(), websocket.MessageText, []byte("still here"))
			}
		}
	})
}

// What was heard before a node is cut off earns it no more than the time since.
func TestSocketOfOwnerCutOffAmidChatter(t *testing.T) {
	for phase := time.Duration(0); phase < 400*time.Millisecond; phase += 50 * time.Millisecond {
		bubble(t, 3, func(s *site) {
			b, owner := s.bound()
			defer b.leaveConnections()
			owner.engine.on(echo)
			ws, _, err := b.dial(s.nodes[0], "/socket")
			if err != nil {
				t.Fatal(err)
			}
			defer ws.CloseNow()
			for range 10 { // long enough apart to be asked
				ws.say(t, "hello")
				time.Sleep(400 * time.Millisecond)
			}
			ws.say(t, "hello")
			time.Sleep(phase)
			s.net.Isolate(owner.host)
			began := time.Now()
			if code := <-ws.code; code != closeServiceRestart {
				t.Errorf("close code %d", code)
			}
			within(t, began, 700*time.Millisecond, 1500*time.Millisecond)
			s.net.HealAll()
		})
	}
}
