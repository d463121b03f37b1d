package door

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// A report that says full is a second old: the owner knows better.
func TestFullByTheReportIsAsked(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.Place.MaxSessionsPerEngine = 1 })
		s.freezeReports()
		open := func(at *node) answer {
			b := s.browser()
			defer b.leaveConnections()
			return b.get(at, "/")
		}
		for i := range 3 {
			if a := open(s.nodes[i]); a.status != http.StatusOK {
				t.Errorf("user %d: %d %s", i, a.status, a.code)
			}
			time.Sleep(reservationLife) // places that were kept elsewhere are given back
		}
		s.report() // full, all three
		if a := open(s.nodes[0]); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "3 full") || retryAfter(a) == 0 {
			t.Errorf("nothing ended: %d %q", a.status, a.body)
		}
		for i, nd := range s.nodes {
			nd.door.CloseSession(nd.door.Sessions(nil)[0].ID)
			if a := open(s.nodes[(i+1)%3]); a.status != http.StatusOK || len(nd.door.Sessions(nil)) != 1 {
				t.Errorf("a session of %s ended, and a newcomer gets %d %s", nd.name, a.status, a.code)
			}
			time.Sleep(reservationLife)
			if a := open(s.nodes[(i+1)%3]); a.status != http.StatusServiceUnavailable {
				t.Errorf("full again: %d", a.status)
			}
		}
	})
}

// A full engine whose owner does not answer is not tried in the blind.
func TestFullAndSilent(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Place.MaxSessionsPerEngine = 1 })
		for i := range 2 {
			b := s.browser()
			b.ok(s.nodes[i], "/")
			b.leaveConnections()
		}
		time.Sleep(3 * time.Second)
		s.net.SetDelay(60 * time.Millisecond) // beyond the 50 ms for an answer
		before := s.placements()
		b := s.browser()
		defer b.leaveConnections()
		if a := b.get(s.nodes[0], "/"); a.status != http.StatusServiceUnavailable {
			t.Errorf("%d", a.status)
		}
		before["refused"]++
		if diff := cmp.Diff(before, s.placements()); diff != "" {
			t.Errorf("searches (-want +got):\n%s", diff)
		}
	})
}

// placements are the searches for an engine of the first node's door, by result.
func (s *site) placements() map[string]int {
	out := map[string]int{}
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "usher_door_placements_total" {
				out[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return out
}

// When none of the two answers, it is guessed: their reports are as good as any.
func TestSilenceOfBothIsGuessed(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.operator(s.nodes[0], peer.StateDraining)
		time.Sleep(1500 * time.Millisecond)
		s.net.SetDelay(60 * time.Millisecond)
		before := s.placements()
		b := s.browser()
		defer b.leaveConnections()
		b.ok(s.nodes[0], "/")
		before["guessed"]++
		if diff := cmp.Diff(before, s.placements()); diff != "" {
			t.Errorf("searches (-want +got):\n%s", diff)
		}
	})
}

// A decision that opened no session is taken back.
func TestFailedDecisionsAreTakenBack(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.operator(s.nodes[0], peer.StateDraining)
		s.nodes[1].engine.stop() // its probes have not noticed
		b := s.browser()
		defer b.leaveConnections()
		if a := b.get(s.nodes[0], "/"); a.status != http.StatusServiceUnavailable {
			t.Fatalf("%d", a.status)
		}
		c := s.nodes[0].door.chooser
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.after(s.nodes[1].engine.id, 0); n != 0 || c.last == 0 {
			t.Errorf("%d decisions are left, the last was %d", n, c.last)
		}
	})
}

// Owners count what a door decided up to the stamp that it names, beside the door and
// elsewhere.
func TestAnswersLeaveOutWhatTheDoorDecided(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.freezeReports()
		const opens = 20 * time.Millisecond // from the decision to the row
		s.mu.Lock()
		s.admit = func(context.Context, Opening) error { time.Sleep(opens); return nil }
		s.mu.Unlock()
		for _, owner := range s.nodes[:2] {
			for _, nd := range s.nodes {
				s.operator(nd, peer.StateDraining)
			}
			s.operator(owner, peer.StateActive)
			door := s.nodes[0].door
			b := s.browser()
			b.ok(s.nodes[0], "/")
			b.leaveConnections()
			decided := door.chooser.decided[owner.engine.id]
			if len(decided) != 1 {
				t.Fatalf("decisions: %v", decided)
			}
			ask := func(from *node) int {
				answers, _ := from.door.ask(context.Background(), want{session: SessionID{9}}, candidatesOf(owner.engine.id))
				if len(answers) != 1 || !answers[0].OK || answers[0].since != stampAt(time.Now().Add(-askLag)) {
					t.Fatalf("answers: %+v", answers)
				}
				return answers[0].Load.Sessions
			}
			steps := []struct {
				after time.Duration // the decision
				from  *node
				want  int
			}{
				{opens, s.nodes[0], 0}, {opens, s.nodes[2], 0}, {askLag - 1, s.nodes[0], 0}, {askLag, s.nodes[0], 1},
				{opens + askLag - 1, s.nodes[2], 0}, {opens + askLag, s.nodes[2], 1},
			}
			for _, x := range steps {
				time.Sleep(x.after - time.Since(time.Unix(0, int64(decided[0]))))
				if got := ask(x.from); got != x.want {
					t.Errorf("at %s, asked by %s %s after: %d, want %d", owner.name, x.from.name, x.after, got, x.want)
				}
			}
			// However slow the answer: the door counts it, the owner must not.
			e := owner.door.owner.engines["app"]
			now := time.Now().UnixNano()
			if got := e.settled(s.nodes[0].id, decided[0]-1, now); got != 0 {
				t.Errorf("at %s, for the door that decided: %d", owner.name, got)
			}
			if got := e.settled(s.nodes[2].id, decided[0]-1, now); got != 1 {
				t.Errorf("at %s, for another door: %d", owner.name, got)
			}
			slow := askRequest{Session: strings.Repeat("07", 16), Engines: []string{"app"}, Since: decided[0] - 1}
			if owner != s.nodes[0] {
				as, err := door.askNode(context.Background(), owner.id, slow)
				if err != nil || as[0].Load.Sessions != 0 {
					t.Errorf("a slow answer of %s: %+v, %v", owner.name, as, err)
				}
			}
		}
	})
}

func TestNobodyTakesNewcomers(t *testing.T) {
	bubble(t, 3, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		status := func(accept string) answer {
			c := s.browser()
			defer c.leaveConnections()
			return c.get(s.nodes[0], statusPath, "Accept", accept)
		}
		check := func(note string, open int) {
			t.Helper()
			var p statusPage
			a := status("application/json")
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatal(err)
			}
			if a.status != http.StatusOK || p.Status != "ok" || p.Open != open || p.Note != note {
				t.Errorf("status %d %+v, want the note %q", a.status, p, note)
			}
			if a = status("text/html"); note != "" != strings.Contains(a.body, "no engine takes new sessions") || !strings.Contains(a.body, note) {
				t.Errorf("page %q", a.body)
			}
			c := s.browser()
			defer c.leaveConnections()
			a = c.get(s.nodes[0], "/")
			if note == "" {
				if a.status != http.StatusOK {
					t.Errorf("newcomer: %d", a.status)
				}
				return
			}
			if a.status != http.StatusServiceUnavailable || a.code != "no_engine" || !strings.Contains(strings.ToLower(a.body), note) || retryAfter(a) == 0 {
				t.Errorf("newcomer: %d %s %q, want %q", a.status, a.code, a.body, note)
			}
			b.ok(s.nodes[0], "/") // who is in stays in
		}
		check("", 3)
		for _, nd := range s.nodes {
			s.operator(nd, peer.StateDraining)
		}
		check("no engine takes new sessions: 3 draining", 0)
		other := s.others(owner)
		s.operator(other[0], peer.StateStandby)
		s.operator(other[1], peer.StateActive)
		other[1].engine.setHealth(peer.Unhealthy)
		s.report()
		check("no engine takes new sessions: 1 draining, 1 standby, 1 unhealthy", 0)
		s.operator(other[1], peer.StateActive)
		other[1].engine.setHealth(peer.Healthy)
		s.report()
		check("", 1)
	})
}

func TestShutSpeaks(t *testing.T) {
	s := shut{}
	for i, r := range []placement.Reason{
		placement.Full, placement.NodeLost, placement.NodeDraining, placement.Dead, placement.Full, placement.NodeSuspect,
		placement.NodeUnknown, placement.Excluded, placement.TagMissing, placement.NodeStandby, placement.Unhealthy, "new",
	} {
		s[peer.EngineID(fmt.Sprint(i))] = r
	}
	if got, want := s.String(), "1 draining, 1 standby, 2 full, 1 unhealthy, 1 dead, 3 out of reach"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if p := problemNoPlace(nil); p.Title != problemNoEngine.Title || p.Code != "no_engine" {
		t.Errorf("of nothing: %+v", p)
	}
	cs := candidatesOf("a/x", "b/x", "c/x")
	left := s.without(cs, []heard{{Answer: placement.Answer{Engine: "a/x", Reason: placement.Full}}, yes("c/x", 0, 0)})
	if len(left) != 1 || left[0].Engine != "b/x" || len(cs) != 3 || cs[0].Engine != "a/x" || s["a/x"] != placement.Full {
		t.Errorf("left %v of %v", left, cs)
	}
	if _, there := s["c/x"]; there {
		t.Error("who said yes is shut")
	}
}

// The place at the engine that was not chosen is given back at once.
func TestPlacesAreGivenBack(t *testing.T) {
	bubble(t, 3, func(s *site) {
		kept := func() (n int) {
			for _, nd := range s.nodes {
				for _, e := range nd.door.owner.engines {
					e.mu.Lock()
					n += len(e.reserved)
					e.mu.Unlock()
				}
			}
			return n
		}
		for i := range 9 {
			b := s.browser()
			b.ok(s.nodes[i%3], "/")
			b.leaveConnections()
			synctest.Wait()
			if n := kept(); n != 0 {
				t.Fatalf("%d places are kept after user %d", n, i)
			}
		}
	})
}

// presumed speaks for those that are late, not for those that failed, and only while
// their reports are fresh.
func TestPresumed(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.freezeReports()
		d, began := s.nodes[0].door, time.Now()
		s.report()
		cs := candidatesOf(s.nodes[1].engine.id, s.nodes[2].engine.id)
		late := []peer.ID{s.nodes[2].id, "cccccccccccccccd"}
		engines := func() []peer.EngineID {
			var out []peer.EngineID
			for _, h := range d.presumed(cs, late) {
				if !h.OK || !h.presumed {
					t.Errorf("%+v", h)
				}
				out = append(out, h.Engine)
			}
			return out
		}
		for _, step := range []struct {
			age  time.Duration
			want []peer.EngineID
		}{{0, []peer.EngineID{s.nodes[2].engine.id}}, {reportFresh, []peer.EngineID{s.nodes[2].engine.id}}, {reportFresh + 1, nil}} {
			time.Sleep(step.age - time.Since(began))
			if diff := cmp.Diff(step.want, engines()); diff != "" {
				t.Errorf("after %s (-want +got):\n%s", step.age, diff)
			}
		}
	})
}

// An engine beside the door always answers in time. A burst that makes the others late
// does not stay there for it.
func TestLateAgentsGetTheirShare(t *testing.T) {
	bubble(t, 3, func(s *site) {
		time.Sleep(1500 * time.Millisecond)
		s.net.SetDelay(40 * time.Millisecond) // 80 ms there and back, of 50
		checkThirds(t, "all are late", s.burst(90, func(int) *node { return s.nodes[0] }), 90)
	})
}
