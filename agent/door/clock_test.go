package door

import (
	"testing"
	"time"
)

// Sessions outlive a clock that is set, and are adopted by an owner whose clock is wrong.
func TestClockOfTheOwnerIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"ahead": 26 * time.Hour, "back": -26 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				b, owner := s.bound()
				defer b.leaveConnections()
				owner.engine.on(echo)
				ws, _, err := b.dial(s.nodes[0], "/socket")
				if err != nil {
					t.Fatal(err)
				}
				defer ws.CloseNow()
				before := owner.door.Sessions(nil)
				owner.ahead.Store(int64(step))
				for range 10 {
					time.Sleep(time.Second)
					ws.say(t, "still here")
				}
				if after := owner.door.Sessions(nil); len(after) != len(before) || after[0].Created.Sub(before[0].Created).Round(time.Second) != step {
					t.Errorf("sessions %+v, before %+v", after, before)
				}
				owner.engine.on(nil)
				// The owner forgets, as if it was started again, while its clock is wrong.
				for i := range owner.door.owner.table.shards {
					clear(owner.door.owner.table.shards[i].rows)
				}
				for range 5 {
					if a := b.ok(s.nodes[0], "/"); a.seen.Engine != owner.name {
						t.Errorf("served by %s, not by its own engine", a.seen.Engine)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// A door whose clock is wrong neither ends sessions nor opens ones that others do not take.
func TestClockOfTheDoorIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"ahead": 26 * time.Hour, "back": -26 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 3, func(s *site) {
				b, owner := s.bound()
				defer b.leaveConnections()
				for _, n := range s.nodes {
					if n != owner {
						n.ahead.Store(int64(step))
					}
				}
				for _, n := range s.nodes {
					if a := b.ok(n, "/"); a.seen.Engine != owner.name {
						t.Errorf("by way of %s served by %s, not by its own engine", n.name, a.seen.Engine)
					}
				}
				fresh := s.browser()
				defer fresh.leaveConnections()
				wrong := s.nodes[0]
				if wrong == owner {
					wrong = s.nodes[1]
				}
				at := fresh.ok(wrong, "/").seen.Engine
				for _, n := range s.nodes {
					if a := fresh.ok(n, "/"); a.seen.Engine != at {
						t.Errorf("opened by %s and served by %s, it is served by %s at %s", wrong.name, at, a.seen.Engine, n.name)
					}
				}
			})
		})
	}
}

// A session ends when its time is over, whatever the clock of its owner says.
func TestLifeByTheSteadyClock(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(set *Settings) { set.Session.IdleTimeout = time.Minute })
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.ahead.Store(int64(-26 * time.Hour))
		time.Sleep(2 * time.Minute)
		if n := len(owner.door.Sessions(nil)); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}
