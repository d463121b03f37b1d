package consensus

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// TestMovesUnderLoad moves the central role back and forth under 32 writers.
func TestMovesUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		all := []*member{c.nodes[c.ids[0]], c.nodes[c.ids[1]], c.nodes[c.ids[2]]}
		w := c.write(32, all, 5*time.Millisecond)
		time.Sleep(500 * time.Millisecond)
		began, pair := time.Now(), []*member{l, c.others(l)[0]}
		term := l.store.Status().Term
		for k := range 10 {
			from, to := pair[k%2], pair[(k+1)%2]
			if err := from.store.Handover(t.Context(), to.id); err != nil {
				t.Fatal(err)
			}
			c.within(100*time.Millisecond, "the chosen one leads", func() bool { return to.store.Status().IsLeader })
			time.Sleep(300 * time.Millisecond)
		}
		gap := w.gap(began)
		t.Logf("the longest time without an acknowledgement: %v", gap)
		if gap > 150*time.Millisecond {
			t.Errorf("%v without an acknowledgement", gap)
		}
		if now := c.leader("").store.Status().Term; now != term+10 {
			t.Errorf("%d terms for 10 moves", now-term)
		}
		w.end()
		if n := len(w.lost); n > 0 {
			t.Errorf("%d writes failed, the first with %v", n, w.lost[0])
		}
		c.agree()
	})
}

// TestMoveWaitsForAVoterThatIsBehind lets the chosen one have its entries only while
// the move is under way.
func TestMoveWaitsForAVoterThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		to := c.others(l)[0]
		c.muteRaft(to.id)
		for i := range 20 {
			if _, err := l.store.Propose(t.Context(), put(fmt.Sprintf("row-%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		if at, err := l.store.Progress(t.Context(), to.id); err != nil || at >= l.store.Status().LastIndex {
			t.Fatal("it is not behind: this test sees nothing", err)
		}
		began := time.Now()
		time.AfterFunc(200*time.Millisecond, func() { c.unmute(to.id) })
		if err := l.store.Handover(t.Context(), to.id); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 200*time.Millisecond || took > time.Second {
			t.Errorf("the move took %v", took)
		}
		if got := c.leader(""); got != to {
			t.Errorf("%s leads", got.id)
		}
	})
}

// TestMoveToAVoterThatIsCutOff fails, and the leader goes on: what it held back in the
// meantime is acknowledged, and so is a change of the voters that came then.
func TestMoveToAVoterThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 4)
		defer c.stopAll()
		to, third := c.others(l)[0], c.others(l)[1]
		term := l.store.Status().Term
		c.net.Isolate(c.hosts[to.id])
		began := time.Now()
		moved := make(chan error, 1)
		go func() { moved <- l.store.Handover(t.Context(), to.id) }()
		synctest.Wait()
		before := l.store.Status().LastIndex
		written, changed := make(chan error, 1), make(chan error, 1)
		go func() { _, err := l.store.Apply(t.Context(), put("row")); written <- err }()
		go func() { changed <- l.store.Demote(t.Context(), third.id) }()
		time.Sleep(100 * time.Millisecond)
		if grown := l.store.Status().LastIndex - before; grown != 0 {
			t.Errorf("the log grew by %d under the move", grown)
		}
		if err := <-moved; err == nil {
			t.Fatal("it moved")
		}
		if took := time.Since(began); took > 1600*time.Millisecond {
			t.Errorf("it took %v to give up", took)
		}
		if err := <-written; err != nil {
			t.Error("a write that was held back:", err)
		}
		if err := <-changed; err != nil {
			t.Error("a change of the voters that was held back:", err)
		}
		if st := l.store.Status(); !st.IsLeader || st.Term != term {
			t.Error("it does not lead any more")
		}
		c.net.HealAll()
		time.Sleep(3 * time.Second)
		c.agree()
	})
}

// TestMoveInATermThatHasJustBegun hands a term over as soon as it is won, on a slow disk:
// its first entry is yet to be written then, and a voter that lacks it might not win.
func TestMoveInATermThatHasJustBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		next, before := c.others(l)[0], l.store.Status().Term
		next.slow.Store(int64(20 * time.Millisecond))
		c.stand(next)
		var begun term
		c.within(100*time.Millisecond, "it leads", func() bool { begun = next.store.term.now(); return begun.ctx != nil })
		if next.store.guard.has(next.store.raft.LastIndex(), before+1) {
			t.Fatal("the first entry is written: this test sees nothing")
		}
		if err := next.store.handOver(t.Context(), begun, l.id); err != nil {
			t.Fatal(err)
		}
		c.within(100*time.Millisecond, "the chosen one leads", func() bool { return l.store.Status().IsLeader })
		first := l.store.raft.LastIndex()
		for first > 0 && !l.store.guard.has(first, before+1) {
			first--
		}
		if first == 0 {
			t.Error("it stood without the first entry of the term")
		}
	})
}

// TestMoveToOneThatDoesNotStand ends after an election timeout, not with the time that
// the whole may take.
func TestMoveToOneThatDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		none := c.others(l)[0]
		if err := l.store.Demote(t.Context(), none.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		if err := l.store.Handover(t.Context(), none.id); err == nil {
			t.Error("one without a vote leads")
		}
		if took := time.Since(began); took > 600*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		if _, err := l.store.Propose(t.Context(), put("row")); err != nil {
			t.Error(err)
		}
	})
}

// TestStandForRefuses asks a node to stand in ways in which it must not.
func TestStandForRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 4)
		defer c.stopAll()
		voter, other, none := c.others(l)[0], c.others(l)[1], c.others(l)[2]
		if err := l.store.Demote(t.Context(), none.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		st := l.store.Status()
		for _, ask := range []struct {
			name        string
			who         *member
			from        peer.ID
			term, index uint64
		}{
			{"not by the leader", voter, other.id, st.Term, st.LastIndex},
			{"by nobody", voter, "", st.Term, st.LastIndex},
			{"in an earlier term", voter, l.id, st.Term - 1, st.LastIndex},
			{"in a later term", voter, l.id, st.Term + 1, st.LastIndex},
			{"the log is behind", voter, l.id, st.Term, st.LastIndex + 1},
			{"it has no vote", none, l.id, st.Term, st.LastIndex},
			{"the leader itself", l, l.id, st.Term, st.LastIndex},
		} {
			ask.who.store.standFor(ask.from, ask.term, ask.index)
			time.Sleep(600 * time.Millisecond)
			if now := l.store.Status(); now.Term != st.Term || !now.IsLeader {
				t.Fatalf("%s: term %d became %d", ask.name, st.Term, now.Term)
			}
			if n := ask.who.store.raft.CurrentTerm(); n != st.Term {
				t.Fatalf("%s: it is in term %d", ask.name, n)
			}
		}
		voter.store.standFor(l.id, st.Term, st.LastIndex)
		c.within(100*time.Millisecond, "it leads when all is well", func() bool { return voter.store.Status().IsLeader })
	})
}

// TestMoveEndsWithItsCaller leaves a move that waits.
func TestMoveEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(2 * time.Second)
		to := c.others(l)[0]
		c.net.Isolate(c.hosts[to.id])
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := l.store.Handover(ctx, to.id); err == nil || time.Since(began) > 50*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := l.store.Propose(t.Context(), put("row")); err != nil {
			t.Error(err)
		}
		c.net.HealAll()
	})
}
