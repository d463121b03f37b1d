package consensus

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestFirstInRankWithAnOlderLog has the log of the second grow after both have said how
// far they were. The first stands and loses, and the second does not take that for an
// election that is over.
func TestFirstInRankWithAnOlderLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		first, second := c.others(l)[0], c.others(l)[1] // their logs are the same
		var e elections
		e.watch(first)
		e.watch(second)
		c.muteRaft(first.id)
		term, began := l.store.Status().Term, time.Now()
		second.store.gone(first.id, l.id, term, first.store.facts())
		second.store.state(l.id, term)
		if _, err := l.store.Propose(t.Context(), put("row")); err != nil {
			t.Fatal(err)
		}
		c.muteRaft(l.id)
		c.unmute(first.id)
		if a, b := first.store.logEnd(), second.store.logEnd(); a.index >= b.index {
			t.Fatalf("%v and %v: this test sees nothing", a, b)
		}
		c.stand(first)
		c.within(200*time.Millisecond, "the second leads", func() bool { return second.store.Status().IsLeader })
		if took := time.Since(began); took < 50*time.Millisecond {
			t.Errorf("it did not wait for the first: %v", took)
		}
		if len(e.terms) != 2 {
			t.Errorf("terms %v, want one that is lost and one that is won", e.terms)
		}
		if v, err := second.store.ReadHere(t.Context()); err != nil || v.Secret("row") == nil {
			t.Error("an acknowledged write is missing:", err)
		}
		c.unmute(l.id)
		c.agree()
	})
}
