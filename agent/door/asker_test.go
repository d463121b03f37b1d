package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Questions for one agent travel together, at most two calls at a time.
func TestAskerBoardsAndLoads(t *testing.T) {
	var a asker
	const node = peer.ID("aaaaaaaaaaaaaaaa")
	q := func() *question { return &question{answered: make(chan []placement.Answer, 1)} }
	first := q()
	if !a.board(node, first) || !a.board(node, q()) {
		t.Fatal("no flight for the first two")
	}
	var all []*question
	for range maxQuestions + 3 {
		if a.board(node, q()) {
			t.Fatal("a third flight")
		}
	}
	if !a.board("bbbbbbbbbbbbbbbb", q()) {
		t.Error("no flight to another agent")
	}
	all = slices.Clone(a.lanes[node].waiting)
	if all[0] != first {
		t.Error("the first is not the first")
	}
	if got := a.load(node); len(got) != maxQuestions || !slices.Equal(got, all[:maxQuestions]) {
		t.Errorf("first flight takes %d", len(got))
	}
	if got := a.load(node); !slices.Equal(got, all[maxQuestions:]) {
		t.Errorf("second flight takes %d", len(got))
	}
	if got := a.load(node); len(got) != 0 || a.lanes[node].flights != 1 {
		t.Errorf("a flight with nothing to do: %d, %d flights are left", len(got), a.lanes[node].flights)
	}
	if !a.board(node, q()) {
		t.Error("one flight, and nobody flies the second")
	}
	if got := a.load(node); len(got) != 1 {
		t.Errorf("%d", len(got))
	}
	a.load(node)
	a.load(node)
	if a.lanes[node] != nil {
		t.Error("an empty lane is kept")
	}
}

// controlCalls counts the calls between agents, and how many were under way at once.
func (s *site) controlCalls(nd *node) (calls, most func() int) {
	var mu sync.Mutex
	n, now, top := 0, 0, 0
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == askPath {
			mu.Lock()
			n++
			now++
			top = max(top, now)
			mu.Unlock()
			defer func() { mu.Lock(); now--; mu.Unlock() }()
		}
		nd.inner.ServeHTTP(w, r)
	})
	nd.agents.Store(&count)
	get := func(p *int) func() int { return func() int { mu.Lock(); defer mu.Unlock(); return *p } }
	return get(&n), get(&top)
}

func TestQuestionsTravelTogether(t *testing.T) {
	bubble(t, 2, func(s *site) {
		calls, most := s.controlCalls(s.nodes[1])
		time.Sleep(1500 * time.Millisecond)
		s.net.SetDelay(5 * time.Millisecond)
		before := calls()
		var wait sync.WaitGroup
		for i := range 100 {
			wait.Go(func() {
				id := fmt.Sprintf("%032x", i+1)
				as, err := s.nodes[0].door.askNode(context.Background(), s.nodes[1].id, askRequest{Session: id, Engines: []string{"app"}})
				if err != nil || len(as) != 1 || !as[0].OK || as[0].Engine != s.nodes[1].engine.id {
					t.Errorf("question %d: %+v, %v", i, as, err)
				}
			})
		}
		wait.Wait()
		if n := calls() - before; n > 5 || most() > maxAskFlights {
			t.Errorf("100 questions took %d calls, %d at once", n, most())
		}
		e := s.nodes[1].door.owner.engines["app"]
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.reserved) != 100 {
			t.Errorf("%d places are kept for 100 sessions", len(e.reserved))
		}
	})
}

// Each question gets its own answer, whatever the others in its batch get.
func TestAnswersFindTheirQuestions(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.nodes[1].engine.set(func() { s.nodes[1].engine.max = 3 })
		time.Sleep(1500 * time.Millisecond)
		s.net.SetDelay(5 * time.Millisecond)
		var mu sync.Mutex
		ok := 0
		var wait sync.WaitGroup
		for i := range 20 {
			wait.Go(func() {
				r := askRequest{Session: fmt.Sprintf("%032x", i+1), Engines: []string{"app", "app"}[:1+i%2]}
				as, err := s.nodes[0].door.askNode(context.Background(), s.nodes[1].id, r)
				if err != nil || len(as) != 1+i%2 {
					t.Errorf("question %d: %+v, %v", i, as, err)
					return
				}
				if as[0].OK {
					mu.Lock()
					ok++
					mu.Unlock()
				} else if as[0].Reason != placement.Full {
					t.Errorf("question %d: %+v", i, as[0])
				}
			})
		}
		wait.Wait()
		if ok != 3 {
			t.Errorf("%d places of 3 were given", ok)
		}
		// One that cannot be read spoils the call, and everybody hears of it at once.
		began := time.Now()
		if _, err := s.nodes[0].door.askNode(context.Background(), s.nodes[1].id, askRequest{Session: "?", Engines: []string{"app"}}); !errors.Is(err, errNoAnswer) || time.Since(began) > time.Second {
			t.Errorf("a bad question: %v after %s", err, time.Since(began))
		}
		many := askRequest{Session: strings.Repeat("01", 16), Engines: slices.Repeat([]string{"app"}, maxAsked+1)}
		if _, err := s.nodes[0].door.askNode(context.Background(), s.nodes[1].id, many); !errors.Is(err, errNoAnswer) {
			t.Errorf("too many engines: %v", err)
		}
		if _, err := s.nodes[1].door.answerAsks("", askBatch{Questions: make([]askRequest, maxQuestions+1)}); err == nil {
			t.Error("a call of any size is served")
		}
		// Who does not wait is not waited for.
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		if _, err := s.nodes[0].door.askNode(ctx, s.nodes[1].id, askRequest{Session: strings.Repeat("02", 16), Engines: []string{"app"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its time: %v", err)
		}
	})
}

// A call that is not answered at all, or badly, ends, and the lane is free again.
func TestCallsThatComeToNothing(t *testing.T) {
	bubble(t, 2, func(s *site) {
		d, to := s.nodes[0].door, s.nodes[1]
		ask := func() ([]placement.Answer, error) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			return d.askNode(ctx, to.id, askRequest{Session: strings.Repeat("01", 16), Engines: []string{"app"}})
		}
		answer := func(h http.HandlerFunc) { to.agents.Store(&h) }
		for _, body := range []string{`{}`, `{"answers":[]}`, `{"answers":[{"engines":[{"name":"app","ok":true}]},7]}`, `x`} {
			answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
			if as, err := ask(); !errors.Is(err, errNoAnswer) || as != nil {
				t.Errorf("%s: %+v, %v", body, as, err)
			}
		}
		answer(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		began := time.Now()
		if _, err := ask(); !errors.Is(err, errNoAnswer) || time.Since(began) != askLife {
			t.Errorf("a silent agent: %v after %s", err, time.Since(began))
		}
		to.agents.Store(nil)
		if as, err := ask(); err != nil || len(as) != 1 {
			t.Errorf("afterwards: %+v, %v", as, err)
		}
		time.Sleep(askLife) // the door may have warmed a connection
		synctest.Wait()
		d.asker.mu.Lock()
		defer d.asker.mu.Unlock()
		if len(d.asker.lanes) != 0 {
			t.Errorf("%d lanes are left", len(d.asker.lanes))
		}
	})
}

// A door keeps a connection to every living agent, so that no question waits for one.
func TestWarm(t *testing.T) {
	bubble(t, 3, func(s *site) {
		idle := func(from, to *node) int { return from.door.peers.to(to.id).Idle() }
		time.Sleep(2 * sweepEvery)
		for _, from := range s.nodes {
			for _, to := range s.others(from) {
				if idle(from, to) != 1 {
					t.Errorf("%s has %d idle connections to %s, want one", from.name, idle(from, to), to.name)
				}
			}
			if idle(from, from) != 0 {
				t.Errorf("%s has a connection to itself", from.name)
			}
		}
		calls, _ := s.controlCalls(s.nodes[1])
		time.Sleep(10 * time.Second)
		if n := calls(); n != 0 {
			t.Errorf("%d calls to keep what is there", n)
		}
		s.gossip(s.nodes[1], peer.StatusSuspect)
		_ = s.nodes[0].door.peers.to(s.nodes[1].id).CloseAll()
		time.Sleep(3 * sweepEvery)
		if idle(s.nodes[0], s.nodes[1]) != 0 {
			t.Error("a connection to a node that may be gone")
		}
		s.gossip(s.nodes[1], peer.StatusAlive)
		s.nodes[0].door.peers.drop(func(id peer.ID) bool { return id == s.nodes[1].id })
		time.Sleep(2 * sweepEvery)
		if idle(s.nodes[0], s.nodes[1]) != 1 {
			t.Error("no connection to a node that is back")
		}
	})
}
