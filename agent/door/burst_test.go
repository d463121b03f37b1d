package door

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// burst lets users arrive at the same instant and counts where they land.
func (s *site) burst(users int, door func(i int) *node) map[string]int {
	before := map[string]int{}
	for _, nd := range s.nodes {
		before[nd.name] = len(nd.door.Sessions(nil))
	}
	var wait sync.WaitGroup
	for i := range users {
		wait.Go(func() {
			b := s.browser()
			defer b.leaveConnections()
			if a, err := b.do(door(i), "GET", "/", ""); err != nil || a.status != http.StatusOK {
				s.t.Errorf("user %d: %d %s %v", i, a.status, a.code, err)
			}
		})
	}
	wait.Wait()
	got := map[string]int{}
	for _, nd := range s.nodes {
		got[nd.name] = len(nd.door.Sessions(nil)) - before[nd.name]
	}
	return got
}

func checkThirds(t *testing.T, what string, got map[string]int, users int) {
	t.Helper()
	for name, n := range got {
		if n*300 < users*85 || n*300 > users*115 {
			t.Errorf("%s: %s got %d of %d, want a third within 15 %%: %v", what, name, n, users, got)
		}
	}
}

func TestBurst(t *testing.T) {
	cases := []struct {
		name        string
		delay, work time.Duration
		doors       int
		users       int
	}{
		{"no delay", 0, 0, 3, 120},
		{"a network", time.Millisecond, 20 * time.Millisecond, 3, 120},
		{"a slow network", 20 * time.Millisecond, 0, 3, 120},
		{"slow engines", time.Millisecond, time.Second, 3, 120},
		{"through one door", time.Millisecond, 20 * time.Millisecond, 1, 120},
		{"through two doors", time.Millisecond, 20 * time.Millisecond, 2, 100},
		{"nobody answers in time", 60 * time.Millisecond, 0, 3, 120},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				for _, nd := range s.nodes {
					nd.engine.on(func(http.ResponseWriter, *http.Request) { time.Sleep(c.work) })
				}
				time.Sleep(1500 * time.Millisecond)
				s.net.SetDelay(c.delay)
				checkThirds(t, "burst", s.burst(c.users, func(i int) *node { return s.nodes[i%c.doors] }), c.users)
			})
		})
	}
}

// A load report that arrives amid a burst shows one engine as it is, and the others
// as they were.
func TestReportAmidABurst(t *testing.T) {
	bubble(t, 3, func(s *site) {
		for _, nd := range s.nodes {
			nd.engine.on(func(http.ResponseWriter, *http.Request) { time.Sleep(50 * time.Millisecond) })
		}
		s.net.SetDelay(time.Millisecond)
		time.Sleep(1500 * time.Millisecond)
		var wait sync.WaitGroup
		wait.Go(func() { time.Sleep(15 * time.Millisecond); s.reportOne(s.nodes[0]) })
		got := s.burst(120, func(i int) *node {
			time.Sleep(time.Duration(i) * 50 * time.Millisecond / 120)
			return s.nodes[i%3]
		})
		wait.Wait()
		checkThirds(t, "burst with a report", got, 120)
	})
}

// Under steady load through one door its own engine gets a third of the sessions:
// it is seen as the others are.
func TestOwnEngineIsNoExceptionUnderLoad(t *testing.T) {
	for _, every := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(fmt.Sprint(every), func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				for _, nd := range s.nodes {
					nd.engine.on(func(http.ResponseWriter, *http.Request) { time.Sleep(200 * time.Millisecond) })
				}
				s.net.SetDelay(time.Millisecond)
				const users = 300
				var wait sync.WaitGroup
				for range users {
					time.Sleep(every)
					wait.Go(func() {
						b := s.browser()
						defer b.leaveConnections()
						for range 10 {
							b.ok(s.nodes[0], "/")
						}
					})
				}
				wait.Wait()
				got := map[string]int{}
				for _, nd := range s.nodes {
					got[nd.name] = len(nd.door.Sessions(nil))
				}
				checkThirds(t, "steady load", got, users)
			})
		})
	}
}

// An engine that has been busy for a while gets fewer of the users that come one by
// one, and a busy moment costs it nothing.
func TestBusyEnginesGetFewer(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Traffic.HeadTimeout = time.Hour })
		busy, free := s.nodes[2], make(chan struct{})
		for _, nd := range s.nodes {
			nd.engine.on(func(_ http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/long" {
					<-free
				}
			})
		}
		s.operator(s.nodes[0], peer.StateDraining)
		s.operator(s.nodes[1], peer.StateDraining)
		b := s.browser()
		defer b.leaveConnections()
		b.ok(busy, "/")
		s.operator(s.nodes[0], peer.StateActive)
		s.operator(s.nodes[1], peer.StateActive)
		var wait sync.WaitGroup
		for range 20 { // requests of one session
			wait.Go(func() { _, _ = b.client.Do(b.request(busy, "/long")) })
		}
		arrive := func() int {
			before := len(busy.door.Sessions(nil))
			for i := range 30 {
				time.Sleep(time.Second)
				c := s.browser()
				c.ok(s.nodes[i%3], "/")
				c.leaveConnections()
			}
			return len(busy.door.Sessions(nil)) - before
		}
		time.Sleep(2 * workMemory)
		if n := arrive(); n > 3 {
			t.Errorf("a busy engine got %d of 30 sessions", n)
		}
		close(free)
		wait.Wait()
		time.Sleep(10 * workMemory)
		if n := arrive(); n < 12 {
			t.Errorf("an engine that is idle again and has fewer sessions got %d of 30", n)
		}
	})
}
