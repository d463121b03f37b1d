package clustertest

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// land lets users arrive at three doors in one instant and counts whose engine took
// them.
func (b *bench) land(users int, path string) map[string]int {
	b.T.Helper()
	var mu sync.Mutex
	var arrivals sync.WaitGroup
	on := map[string]int{}
	for i := range users {
		arrivals.Go(func() {
			s := b.user(b.nodes[i%len(b.nodes)]).get(path)
			if s.status != http.StatusOK {
				b.T.Errorf("user %d: status %d, %v", i, s.status, s.err)
			}
			mu.Lock()
			defer mu.Unlock()
			on[s.Node]++
		})
	}
	arrivals.Wait()
	return on
}

// TestBurstLandsEvenly: what all doors decide in one instant none of them can know
// before, and yet no engine gets much more than its share. Load reports come at their
// own times, so the moments of the bursts differ.
func TestBurstLandsEvenly(t *testing.T) {
	const users, least, most = 120, 34, 46 // a third, give or take 15 %
	bursts := []struct {
		name  string
		path  string
		delay time.Duration // of the network, one way
		wait  time.Duration // until the burst
	}{
		{"no delay", "/", 0, 2000 * time.Millisecond},
		{"a network", "/", time.Millisecond, 2300 * time.Millisecond},
		{"engines take their time", "/slow?ms=50", time.Millisecond, 2600 * time.Millisecond},
		{"a slow network", "/slow?ms=20", 15 * time.Millisecond, 2100 * time.Millisecond},
		{"slow engines, just before a report", "/slow?ms=900", time.Millisecond, 2990 * time.Millisecond},
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		for _, x := range bursts {
			for len(b.sessions(b.nodes[0], admin.SessionFilter{})) > 0 { // a page at a time
				b.closeSessions()
			}
			b.Net.SetDelay(x.delay)
			time.Sleep(x.wait)
			on := b.land(users, x.path)
			t.Logf("%s: %v", x.name, on)
			for _, n := range b.nodes {
				if got := on[n.Name]; got < least || got > most {
					t.Errorf("%s: %s got %d of %d users, want %d to %d: %v", x.name, n.Name, got, users, least, most, on)
				}
			}
		}
		b.Net.SetDelay(0)
	})
}

// TestOneDoorFillsAllEngines: steady load that comes through one door is not kept
// away from the engine beside it, nor kept on it.
func TestOneDoorFillsAllEngines(t *testing.T) {
	const users = 300
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 3)
		b.Net.SetDelay(time.Millisecond)
		var mu sync.Mutex
		var load sync.WaitGroup
		on := map[string]int{}
		for range users {
			time.Sleep(10 * time.Millisecond)
			load.Go(func() {
				u := b.user(b.nodes[0])
				s := u.get("/slow?ms=200")
				for range 5 {
					u.get("/slow?ms=200")
				}
				mu.Lock()
				defer mu.Unlock()
				on[s.Node]++
			})
		}
		load.Wait()
		t.Log(on)
		for _, n := range b.nodes {
			if got := on[n.Name]; got*300 < users*85 || got*300 > users*115 {
				t.Errorf("%s got %d of %d users, want a third within 15 %%: %v", n.Name, got, users, on)
			}
		}
		b.Net.SetDelay(0)
	})
}
