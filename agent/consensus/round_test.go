package consensus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// TestDeposedLeaderDoesNotAnswer elects another leader while the old one hears nothing
// of Raft, and still has the pulse: a write is acknowledged elsewhere, and the old
// leader's reads, which went well until then, fail.
func TestDeposedLeaderDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		old := c.leader("")
		if _, err := old.store.Apply(t.Context(), putIf("row", "old", 0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if v, err := old.store.ReadHere(t.Context()); err != nil || string(v.Secret("row").Sealed) != "old" {
			t.Fatal("the leader itself:", err)
		}
		c.muteRaft(old.id)
		next := c.others(old)[0]
		c.stand(next)
		c.within(100*time.Millisecond, "another leads", func() bool { return next.store.Status().IsLeader })
		if _, err := next.store.Propose(t.Context(), putIf("row", "new", 0)); err != nil {
			t.Fatal(err)
		}
		for old.store.Status().IsLeader { // it does not know
			v, err := old.store.ReadHere(t.Context())
			if err == nil {
				t.Fatalf("the deposed leader shows %q", v.Secret("row").Sealed)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if v, err := next.store.ReadHere(t.Context()); err != nil || string(v.Secret("row").Sealed) != "new" {
			t.Fatal("the new leader:", err)
		}
		c.unmute(old.id)
		if v, err := old.store.Read(t.Context()); err != nil || string(v.Secret("row").Sealed) != "new" {
			t.Fatal("the old leader, following:", err)
		}
	})
}

// TestNewLeaderWaitsForItsBarrier lets one win that has an acknowledged write in its
// log, and has not applied it: nobody told it that it is committed.
func TestNewLeaderWaitsForItsBarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		old := c.leader("")
		time.Sleep(time.Second)
		next, third := c.others(old)[0], c.others(old)[1]
		c.net.SetDelay(5 * time.Millisecond)
		if _, err := old.store.Propose(t.Context(), put("row")); err != nil {
			t.Fatal(err)
		}
		c.muteRaft(old.id)
		c.stand(next)
		c.within(100*time.Millisecond, "the next leads", func() bool { return next.store.Status().IsLeader })
		c.muteRaft(third.id) // nothing more is committed
		if next.store.View().Secret("row") != nil {
			t.Fatal("it has been applied already: this test sees nothing")
		}
		if _, err := next.store.confirm(); !errors.Is(err, ErrNotLeader) { // as for a reader of an earlier term
			t.Fatalf("a round before the barrier: %v", err)
		}
		read := make(chan fsm.View, 1)
		go func() {
			v, err := next.store.ReadHere(t.Context())
			if err != nil {
				t.Error(err)
			}
			read <- v
		}()
		time.Sleep(100 * time.Millisecond)
		select {
		case v := <-read:
			t.Fatalf("a read was answered before the entries of earlier terms were applied; the write is there: %v", v.Secret("row") != nil)
		default:
		}
		c.unmute(third.id)
		if v := <-read; v.Secret("row") == nil {
			t.Fatal("an acknowledged write is missing")
		}
		c.unmute(old.id)
	})
}

// TestReadsDoNotJoinARunningRound looks at rounds alone.
func TestReadsDoNotJoinARunningRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r rounds
		calls := make(chan chan uint64)
		confirm := func() (uint64, error) {
			answer := make(chan uint64)
			calls <- answer
			if rev := <-answer; rev > 0 {
				return rev, nil
			}
			return 0, errors.New("nobody agrees")
		}
		spawn := func(f func()) bool { go f(); return true }
		type got struct {
			rev uint64
			err error
		}
		join := func(ctx context.Context) <-chan got {
			out := make(chan got, 1)
			go func() {
				rev, err := r.join(ctx, spawn, confirm)
				out <- got{rev, err}
			}()
			synctest.Wait()
			return out
		}
		first := join(t.Context())
		one := <-calls
		ctx, cancel := context.WithCancel(t.Context())
		second, third, leaves := join(t.Context()), join(t.Context()), join(ctx)
		cancel()
		if g := <-leaves; !errors.Is(g.err, context.Canceled) {
			t.Errorf("left with %v", g.err)
		}
		one <- 1
		if g := <-first; g.rev != 1 || g.err != nil {
			t.Errorf("the first got %+v", g)
		}
		two := <-calls
		fourth := join(t.Context())
		two <- 2
		for _, ch := range []<-chan got{second, third} {
			if g := <-ch; g.rev != 2 || g.err != nil {
				t.Errorf("who came during the first round got %+v, want the second's", g)
			}
		}
		<-calls <- 0
		if g := <-fourth; g.err == nil {
			t.Error("a round that failed was answered well")
		}
		synctest.Wait()
		if r.running || r.next != nil {
			t.Error("a round is left behind")
		}
		if _, err := r.join(t.Context(), func(func()) bool { return false }, confirm); !errors.Is(err, ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

// TestReadsDoNotGoBack lets the leader's state lag behind that of a follower, which has shown
// a write already: reads that come later, on whichever node, show it too.
func TestReadsDoNotGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		const lag = 100 * time.Millisecond
		hold := func() { time.Sleep(lag) }
		l.store.applied.hold.Store(&hold)
		began := time.Now()
		written := make(chan error, 1)
		go func() {
			_, err := l.store.Apply(t.Context(), put("row"))
			written <- err
		}()
		f := c.others(l)[0]
		for f.fsm.View().Secret("row") == nil {
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(began); took >= lag {
			t.Fatalf("the follower took %v: it is not ahead", took)
		}
		for _, i := range c.ids {
			v, err := c.nodes[i].store.Read(t.Context())
			if err != nil || v.Secret("row") == nil {
				t.Errorf("read at %s, %v after the write began: %v", i, time.Since(began), err)
			}
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
}

// TestReadsSeeWhatWasAcknowledged reads at every node, right after each write, and
// writes nothing by it.
func TestReadsSeeWhatWasAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.SetDelay(2 * time.Millisecond)
		ctx, stop := context.WithCancel(t.Context())
		reads, ended := 0, make(chan int)
		for _, i := range c.ids {
			for range 8 {
				go func() { // under load of reads that mind nothing
					n := 0
					for ctx.Err() == nil {
						if _, err := c.nodes[i].store.Read(t.Context()); err != nil {
							t.Error(err)
							break
						}
						n++
					}
					ended <- n
				}()
			}
		}
		before := l.store.Status().LastIndex
		const writes = 50
		for k := range writes {
			at := c.nodes[c.ids[k%3]]
			name := fmt.Sprintf("row-%d", k)
			if _, err := at.store.Apply(t.Context(), put(name)); err != nil {
				t.Fatal(err)
			}
			for _, i := range c.ids {
				v, err := c.nodes[i].store.Read(t.Context())
				if err != nil || v.Secret(name) == nil {
					t.Fatalf("written at %s, read at %s: %v", at.id, i, err)
				}
			}
		}
		stop()
		for range 3 * 8 {
			reads += <-ended
		}
		if grown := l.store.Status().LastIndex - before; grown != writes {
			t.Errorf("the log grew by %d entries for %d writes and %d reads", grown, writes, reads)
		}
	})
}

// TestFollowerWaitsForItsState reads at a follower whose log has stood still, but
// whose pulse goes on.
func TestFollowerWaitsForItsState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		behind := c.others(l)[0]
		c.muteRaft(behind.id)
		if _, err := l.store.Propose(t.Context(), put("row")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if v, err := behind.store.Read(ctx); err == nil {
			t.Fatalf("a read was answered; the write is there: %v", v.Secret("row") != nil)
		}
		if behind.store.View().Secret("row") != nil {
			t.Fatal("it has been applied: this test sees nothing")
		}
		c.unmute(behind.id)
		if v, err := behind.store.Read(t.Context()); err != nil || v.Secret("row") == nil {
			t.Fatal("afterwards:", err)
		}
	})
}
