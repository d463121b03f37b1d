package door

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

func (s *site) ask(from, to *node, session string) placement.Answer {
	s.t.Helper()
	as, err := from.door.askNode(context.Background(), to.id, askRequest{Session: session, Engines: []string{"app", "none"}})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(as) != 2 || as[1].OK || as[0].Engine != to.engine.id {
		s.t.Fatalf("answers: %+v", as)
	}
	return as[0]
}

func TestReservations(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.nodes[1].engine.set(func() { s.nodes[1].engine.max = 2 })
		one, two, three := strings.Repeat("01", 16), strings.Repeat("02", 16), strings.Repeat("03", 16)
		for _, id := range []string{one, two, one} { // a repeated question keeps one place
			if a := s.ask(s.nodes[0], s.nodes[1], id); !a.OK {
				t.Fatalf("%s: %+v", id, a)
			}
		}
		if a := s.ask(s.nodes[0], s.nodes[1], three); a.OK || a.Reason != placement.Full || a.Load.Sessions != 0 {
			t.Errorf("third: %+v", a)
		}
		time.Sleep(2 * time.Second)
		if a := s.ask(s.nodes[0], s.nodes[1], three); !a.OK {
			t.Errorf("after the others lapsed: %+v", a)
		}
	})
}

func TestEngineFull(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Place.MaxSessionsPerEngine = 3 })
		s.nodes[1].engine.set(func() { s.nodes[1].engine.max = 2 }) // the smaller bound counts
		var first *browser
		for i := range 5 {
			time.Sleep(3 * time.Second)
			b := s.browser()
			defer b.leaveConnections()
			b.ok(s.nodes[i%2], "/")
			if first == nil {
				first = b
			}
		}
		time.Sleep(3 * time.Second)
		b := s.browser()
		defer b.leaveConnections()
		if a := b.get(s.nodes[0], "/"); a.status != http.StatusServiceUnavailable || a.code != "no_engine" || retryAfter(a) == 0 {
			t.Errorf("sixth: %d %s", a.status, a.code)
		}
		first.ok(s.nodes[1], "/") // those who are in stay in
		got := []int{len(s.nodes[0].door.Sessions(nil)), len(s.nodes[1].door.Sessions(nil))}
		if diff := cmp.Diff([]int{3, 2}, got); diff != "" {
			t.Errorf("sessions (-want +got):\n%s", diff)
		}
	})
}

func TestNobodyAnswersInTime(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.net.SetDelay(100 * time.Millisecond) // beyond the 50 ms for an answer
		counts := map[string]int{}
		for range 30 {
			b := s.browser()
			counts[b.ok(s.nodes[0], "/").seen.Engine]++
			b.leaveConnections()
		}
		if len(counts) != 3 {
			t.Errorf("sessions went to %v", counts)
		}
	})
}

func TestDraining(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		s.operator(owner, peer.StateDraining)
		time.Sleep(time.Minute)
		if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
			t.Errorf("a session left a draining node for %s", a.seen.Engine)
		}
		for range 10 {
			c := s.browser()
			if a := c.ok(owner, "/"); a.seen.Engine == owner.name {
				t.Error("a draining node got a new session")
			}
			c.leaveConnections()
		}
	})
}

func TestAdmission(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		var mu sync.Mutex
		var asked []Opening
		s.mu.Lock()
		s.admit = func(_ context.Context, o Opening) error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, o)
			return errors.New("no seat: 3 of 3 are taken")
		}
		s.mu.Unlock()
		b.ok(s.nodes[0], "/") // who is in is not asked again
		c := s.browser()
		defer c.leaveConnections()
		a := c.get(s.nodes[0], "/doc/sales/")
		if a.status != http.StatusPaymentRequired || a.code != "no_seat" || strings.Contains(a.body, "3 of 3") || len(c.cookies) != 0 {
			t.Errorf("%d %s %q, cookies %v", a.status, a.code, a.body, c.cookies)
		}
		if len(asked) != 1 || asked[0].Document != "sales" || asked[0].Known || asked[0].Client != "10.9.0.1" {
			t.Errorf("asked: %+v", asked)
		}
		for _, nd := range s.nodes {
			for _, e := range nd.door.owner.engines {
				e.mu.Lock()
				_, kept := e.reserved[asked[0].Session]
				e.mu.Unlock()
				if kept && e.id == asked[0].Engine {
					t.Error("the refused session's place is still kept")
				}
			}
		}
		// A move is not a new session to the license.
		asked = nil
		s.mu.Lock()
		inner := s.admit
		s.admit = func(ctx context.Context, o Opening) error { _ = inner(ctx, o); return nil }
		s.mu.Unlock()
		s.kill(owner)
		b.ok(s.nodes[0], "/")
		if len(asked) != 1 || !asked[0].Known {
			t.Errorf("asked at the move: %+v", asked)
		}
	})
}

func TestFilterLeavesNone(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.mu.Lock()
		s.filter = func(r FilterRequest, cs []placement.Candidate) []placement.Candidate {
			if r.Document != "secret" {
				return cs
			}
			return nil
		}
		s.mu.Unlock()
		b := s.browser()
		defer b.leaveConnections()
		if a := b.get(s.nodes[0], "/doc/secret"); a.status != http.StatusServiceUnavailable || a.code != "no_engine_allowed" {
			t.Errorf("%d %s", a.status, a.code)
		}
		b.ok(s.nodes[0], "/doc/open")
	})
}

func TestNotReady(t *testing.T) {
	bubble(t, 1, func(s *site) {
		b := s.browser()
		defer b.leaveConnections()
		s.mu.Lock()
		keys := s.keys
		s.keys = nil
		s.mu.Unlock()
		if a := b.get(s.nodes[0], "/"); a.status != http.StatusServiceUnavailable || a.code != "not_ready" || retryAfter(a) == 0 {
			t.Errorf("without keys: %d %s", a.status, a.code)
		}
		s.mu.Lock()
		s.keys, s.noView = keys, true
		s.mu.Unlock()
		if a := b.get(s.nodes[0], "/"); a.code != "not_ready" {
			t.Errorf("without a directory: %d %s", a.status, a.code)
		}
		s.mu.Lock()
		s.noView = false
		s.mu.Unlock()
		b.ok(s.nodes[0], "/")
	})
}

func TestIdleAndLife(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Session.IdleTimeout, c.Session.MaxLife = 10*time.Minute, time.Hour })
		b, owner := s.bound()
		defer b.leaveConnections()
		first := b.cookies[cookieName]
		began := time.Now()
		for range 11 { // busy for 55 minutes
			time.Sleep(5 * time.Minute)
			if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
				t.Fatalf("after %s at %s", time.Since(began), a.seen.Engine)
			}
		}
		if b.cookies[cookieName] != first {
			t.Error("the cookie changed while in use")
		}
		time.Sleep(6 * time.Minute) // 61 minutes
		if b.ok(s.nodes[0], "/"); b.cookies[cookieName] == first {
			t.Error("the session outlived its life")
		}
		second := b.cookies[cookieName]
		time.Sleep(11 * time.Minute)
		if n := s.sessions(); n != 0 {
			t.Errorf("%d sessions after the idle time", n)
		}
		if b.ok(s.nodes[0], "/"); b.cookies[cookieName] == second {
			t.Error("a session that was idle for too long was revived by its cookie")
		}
	})
}

// A request under way keeps its session from being idle.
func TestBusyIsNotIdle(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.change(func(c *Settings) { c.Session.IdleTimeout, c.Traffic.HeadTimeout = time.Minute, time.Hour })
		s.nodes[0].engine.on(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				time.Sleep(10 * time.Minute)
			}
		})
		b := s.browser()
		defer b.leaveConnections()
		b.ok(s.nodes[0], "/")
		was := b.cookies[cookieName]
		b.ok(s.nodes[0], "/long")
		b.ok(s.nodes[0], "/")
		if b.cookies[cookieName] != was {
			t.Error("the session ended under a request")
		}
	})
}

func TestOwnerRestartAdopts(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		created := owner.door.Sessions(nil)[0].Created
		owner.stop(t)
		synctest.Wait()
		time.Sleep(time.Minute)
		s.start(owner)
		a := b.ok(s.nodes[0], "/")
		if a.seen.Engine != owner.name || a.seen.Hits != 3 {
			t.Errorf("%+v", a.seen)
		}
		got := owner.door.Sessions(nil)
		if len(got) != 1 || got[0].Created.Sub(created).Abs() > time.Second {
			t.Errorf("adopted as %+v, it began at %s", got, created)
		}
	})
}

func TestCloseSession(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		id := owner.door.Sessions(nil)[0].ID
		if !owner.door.CloseSession(id) || owner.door.CloseSession(id) {
			t.Error("CloseSession does not say what it did")
		}
		was := b.cookies[cookieName]
		if b.ok(s.nodes[0], "/"); b.cookies[cookieName] == was {
			t.Error("the closed session was revived by its cookie")
		}
		if n := s.sessions(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestLeave(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		do := func(method string, fields ...string) answer {
			a, err := b.do(s.nodes[0], method, leavePath, "", fields...)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		for _, site := range []string{"cross-site", "same-site"} {
			if a := do("POST", "Sec-Fetch-Site", site); a.status != http.StatusForbidden || a.code != "cross_site" {
				t.Errorf("%s: %d %s", site, a.status, a.code)
			}
		}
		if a := do("POST", "Origin", "http://evil.example"); a.status != http.StatusForbidden {
			t.Errorf("other origin: %d", a.status)
		}
		if a := do("GET"); a.status != http.StatusOK || !strings.Contains(a.body, "<form") {
			t.Errorf("a link from nowhere: %d %q", a.status, a.body)
		}
		if len(owner.door.Sessions(nil)) != 1 {
			t.Fatal("another site ended the session")
		}
		a := do("GET", "Sec-Fetch-Site", "none")
		if a.status != http.StatusSeeOther || a.header.Get("Location") != "/" || len(b.cookies) != 0 {
			t.Errorf("leave: %d to %q, cookies %v", a.status, a.header.Get("Location"), b.cookies)
		}
		if n := s.sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestDocumentScope(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope = ScopeDocument })
		b := s.browser()
		defer b.leaveConnections()
		// Two tabs whose documents are on different engines.
		sales := b.ok(s.nodes[0], "/doc/sales/").seen.Engine
		other, name := "", ""
		for _, name = range []string{"flights", "people", "stock", "trains", "ships"} {
			time.Sleep(time.Second)
			if other = b.ok(s.nodes[0], "/doc/"+name+"/").seen.Engine; other != sales {
				break
			}
		}
		if other == sales {
			t.Fatal("every document went to the same engine")
		}
		for range 3 {
			if got := b.ok(s.nodes[1], "/doc/sales/page").seen.Engine; got != sales {
				t.Errorf("sales went to %s", got)
			}
			if got := b.ok(s.nodes[1], "/style.css").seen.Engine; got != sales {
				t.Errorf("what follows sales went to %s", got)
			}
			if got := b.ok(s.nodes[2], "/doc/"+name+"/page").seen.Engine; got != other {
				t.Errorf("%s went to %s", name, got)
			}
			if got := b.ok(s.nodes[2], "/style.css").seen.Engine; got != other {
				t.Errorf("what follows %s went to %s", name, got)
			}
		}
	})
}

func TestDocumentCookiesAreBounded(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope = ScopeDocument })
		b := s.browser()
		defer b.leaveConnections()
		for i := range 20 {
			time.Sleep(2 * time.Second)
			b.ok(s.nodes[0], "/doc/d"+string(rune('a'+i))+"/")
			want := min(i+1, maxDocumentCookies) + 1
			if len(b.cookies) != want {
				t.Fatalf("%d cookies after %d documents, want %d", len(b.cookies), i+1, want)
			}
		}
		if _, there := b.cookies[documentCookie("da")]; there {
			t.Error("the oldest cookie was kept")
		}
		if _, there := b.cookies[documentCookie("dt")]; !there {
			t.Error("the newest cookie is missing")
		}
	})
}

func TestClientKey(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Session.ClientKeyHeader = "X-Terminal" })
		engines := map[string]int{}
		for i := range 30 {
			key := "terminal-" + string(rune('a'+i))
			var at string
			for _, nd := range s.nodes {
				b := s.browser() // no cookie ever comes back
				a := b.ok(nd, "/", "X-Terminal", key)
				if len(b.cookies) != 0 {
					t.Errorf("a cookie was set: %v", b.cookies)
				}
				if at != "" && a.seen.Engine != at {
					t.Errorf("%s went to %s and %s", key, at, a.seen.Engine)
				}
				at = a.seen.Engine
				b.leaveConnections()
			}
			engines[at]++
		}
		if n := s.sessions(); n != 30 || len(engines) != 3 {
			t.Errorf("%d sessions on %v", n, engines)
		}
	})
}

// Whatever happens at once, the owner's counts are those of its table.
func TestCountsAreExact(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Session.IdleTimeout = 5 * time.Minute })
		for _, nd := range s.nodes {
			nd.engine.on(func(_ http.ResponseWriter, r *http.Request) { time.Sleep(time.Duration(len(r.URL.Path)) * time.Second) })
		}
		var wait sync.WaitGroup
		for i := range 60 {
			wait.Go(func() {
				b := s.browser()
				defer b.leaveConnections()
				for j := range 12 {
					_, _ = b.do(s.nodes[(i+j)%3], "GET", "/doc/"+strings.Repeat("x", (i*j)%9+1), "")
					switch (i * j) % 7 {
					case 1:
						_, _ = b.do(s.nodes[i%3], "POST", leavePath, "")
					case 2:
						time.Sleep(time.Duration(i*7) * time.Second)
					case 3:
						b.client.Timeout = 2 * time.Second
					case 4:
						b.client.Timeout = 0
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wait.Wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			case <-time.After(7 * time.Second):
			}
			synctest.Wait()
			for _, nd := range s.nodes {
				checkCounts(t, nd, over)
			}
		}
		time.Sleep(11 * time.Minute)
		if n := s.sessions(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		for _, nd := range s.nodes {
			checkCounts(t, nd, true)
		}
	})
}

func checkCounts(t *testing.T, nd *node, idle bool) {
	t.Helper()
	infos := nd.door.Sessions(nil)
	flying, documents := 0, map[string]bool{}
	for _, i := range infos {
		flying += i.InFlight
		for _, d := range i.Documents {
			documents[d] = true
		}
	}
	l := nd.door.Loads()[0]
	if l.Sessions != len(infos) || len(l.Documents) != len(documents) {
		t.Errorf("%s reports %d sessions with %d documents, its table has %d with %d", nd.name, l.Sessions, len(l.Documents), len(infos), len(documents))
	}
	// A session may end under its request, which then flies on without a row.
	if l.InFlight < flying || idle && (l.InFlight != 0 || flying != 0) {
		t.Errorf("%s reports %d requests, its table has %d, idle %v", nd.name, l.InFlight, flying, idle)
	}
}
