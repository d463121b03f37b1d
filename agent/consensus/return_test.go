package consensus

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestAFollowerThatReturns is cut off under writes, and has all of them two seconds after
// the cut has healed, however long it was away and whoever leads then.
func TestAFollowerThatReturns(t *testing.T) {
	for _, c := range []struct {
		name  string
		away  time.Duration
		every time.Duration // a write
		moves bool          // the leader changes meanwhile
		fails bool          // Raft's dials fail at once; else they hang
	}{
		{"after 75 seconds", 75 * time.Second, 100 * time.Millisecond, false, false},
		{"after 75 seconds of errors", 75 * time.Second, 100 * time.Millisecond, false, true},
		{"after an hour", time.Hour, time.Minute, false, false},
		{"to another leader", 75 * time.Second, 100 * time.Millisecond, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() && c.away > time.Minute*5 {
				t.Skip("slow")
			}
			synctest.Test(t, func(t *testing.T) { cutOffAndReturn(t, c.away, c.every, c.moves, c.fails) })
		})
	}
}

func cutOffAndReturn(t *testing.T, away, every time.Duration, moves, fails bool) {
	c, l := settled(t, 3)
	defer c.stopAll()
	gone, other := c.others(l)[0], c.others(l)[1]
	c.net.Isolate(c.hosts[gone.id])
	gone.noRaft.Store(fails)
	for k, began := 0, time.Now(); time.Since(began) < away; k++ {
		if _, err := l.store.Apply(t.Context(), put(fmt.Sprintf("row-%d", k))); err != nil {
			t.Fatal(err)
		}
		if moves && k == 100 {
			if err := l.store.Handover(t.Context(), other.id); err != nil {
				t.Fatal(err)
			}
			l = other
		}
		time.Sleep(every)
	}
	rev := l.store.View().Revision()
	if gone.fsm.View().Revision() >= rev {
		t.Fatal("it was not away: this test sees nothing")
	}
	began := time.Now()
	gone.noRaft.Store(false)
	c.net.HealAll()
	c.within(2*time.Second, "it has what was written", func() bool { return gone.fsm.View().Revision() >= rev })
	t.Logf("it had everything after %v", time.Since(began))
	time.Sleep(2 * time.Second)
	if st := l.store.Status(); !st.IsLeader {
		t.Error("its return cost the leader its role")
	}
	c.agree()
}

// TestConnectionsAreHungUpAfterALossOnly looks at Raft's connections when the pulse says
// that a server is reached.
func TestConnectionsAreHungUpAfterALossOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(2 * time.Second)
		to := c.others(l)[0].id
		conns := func() map[*streamConn]bool {
			s := l.store.stream
			s.mu.Lock()
			defer s.mu.Unlock()
			out := map[*streamConn]bool{}
			for c := range s.conns[to] {
				out[c] = true
			}
			return out
		}
		before := conns()
		if len(before) == 0 {
			t.Fatal("there are none: this test sees nothing")
		}
		l.store.linkUp(to)
		time.Sleep(time.Second)
		for c := range before {
			if !conns()[c] {
				t.Fatal("a connection was hung up though the server was never lost")
			}
		}
		l.store.linkDown(to)
		l.store.linkUp(to)
		time.Sleep(time.Second)
		after := conns()
		for c := range before {
			if after[c] {
				t.Error("a connection from before the loss is still there")
			}
		}
		if len(after) == 0 {
			t.Error("Raft did not dial anew")
		}
		l.store.linkUp(to)
		time.Sleep(time.Second)
		for c := range after {
			if !conns()[c] {
				t.Error("a connection was hung up twice for one loss")
			}
		}
	})
}
