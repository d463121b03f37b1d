package scheduler

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// bubble runs a test in fake time; in begins at 2000-01-01 00:00:00 UTC.
func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func count(states []fsm.OccurrenceState, s fsm.OccurrenceState) int {
	n := 0
	for _, v := range states {
		if v == s {
			n++
		}
	}
	return n
}

func TestEveryDueTimeRunsOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, m := range c.nodes {
			m.work = busyFor(800 * time.Millisecond)
		}
		begin := time.Now()
		c.put(every("sales", 5*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(10*time.Minute + 2*time.Second)
		synctest.Wait()
		c.check()
		c.checkRecords("sales", begin.Add(5*time.Second), begin.Add(10*time.Minute))
		if n := count(c.states("sales"), fsm.OccurrenceSucceeded); n != 120 {
			t.Errorf("%d of 120 succeeded: %v", n, c.states("sales"))
		}
	})
}

// The leader changes every 17 s, sometimes in the middle of a command whose answer
// is lost, and once in a while nobody leads for a moment.
func TestLeaderChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		n := 0
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			n++
			return fault{delay: time.Duration(n%7) * 20 * time.Millisecond, lostAck: n%41 == 0, lost: n%53 == 0}
		}
		for _, m := range c.nodes {
			m.work = busyFor(800 * time.Millisecond)
		}
		begin := time.Now()
		c.put(every("sales", 5*time.Second))
		for i := 0; time.Since(begin) < 10*time.Minute; i++ {
			c.lead(c.nodes[i%3])
			time.Sleep(17 * time.Second)
			if i%5 == 4 {
				c.rest()
				time.Sleep(2 * time.Second)
			}
		}
		c.must(&fsm.PauseTask{Name: "sales", Paused: true})
		last := time.Now().Truncate(5 * time.Second)
		time.Sleep(2 * time.Minute) // what runs may end
		synctest.Wait()
		c.check()
		// What was due in the instant of the pause may have none.
		c.checkRecords("sales", begin.Add(5*time.Second), last.Add(-10*time.Second))
		if n := count(c.states("sales"), fsm.OccurrenceSucceeded); n < 80 {
			t.Errorf("only %d succeeded", n)
		}
	})
}

// Two nodes believe that they lead, all the time.
func TestTwoLeaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		begin := time.Now()
		c.put(every("sales", 5*time.Second))
		c.put(every("stock", 3*time.Second))
		c.lead(c.nodes[0])
		ctx, stop := context.WithCancel(t.Context())
		other := make(chan error)
		go func() { other <- c.nodes[1].s.Lead(ctx, 2) }()
		time.Sleep(5*time.Minute + time.Second)
		stop()
		if err := <-other; err != nil {
			t.Error(err)
		}
		c.rest()
		synctest.Wait()
		c.check()
		c.checkRecords("sales", begin.Add(5*time.Second), begin.Add(5*time.Minute))
		c.checkRecords("stock", begin.Add(3*time.Second), begin.Add(5*time.Minute))
	})
}

// A leader that was paused wakes up and sends all its claims again, as new commands,
// also those of occurrences whose rows were evicted long ago.
func TestOldClaimsAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.must(&fsm.SetSetting{Key: "scheduler.history", Value: "3"})
		c.put(every("sales", 5*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(61 * time.Second)
		c.rest()
		time.Sleep(time.Second)
		var claims []fsm.Command
		for _, cmd := range c.seen {
			if _, ok := cmd.(*fsm.ClaimOccurrence); ok {
				claims = append(claims, cmd)
			}
		}
		if len(claims) != 12 {
			t.Fatalf("%d claims, want 12", len(claims))
		}
		before := len(c.launches("sales"))
		for _, claim := range claims {
			if res := c.do(claim); res.Code != fsm.CodeConflict {
				t.Errorf("a repeated claim: code %q (%s), want a conflict", res.Code, res.Message)
			}
		}
		time.Sleep(time.Minute)
		c.check()
		if n := len(c.launches("sales")); n != before {
			t.Errorf("%d launches after the old claims, %d before", n, before)
		}
	})
}

func TestStuckCommandHoldsUpItsTaskOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		c.put(every("sales", 5*time.Second))
		c.put(every("stock", 5*time.Second))
		tried := 0
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			if claim, ok := cmd.(*fsm.ClaimOccurrence); ok && claim.Task == "sales" {
				tried++
				return fault{lost: true}
			}
			return fault{}
		}
		begin := time.Now()
		c.lead(c.nodes[0])
		time.Sleep(time.Minute + time.Second)
		c.mu.Lock()
		for _, l := range c.runs {
			if late := l.begin.Sub(l.Due); l.Task == "stock" && late > 100*time.Millisecond {
				t.Errorf("due %s was launched %s late", l.Due, late)
			}
		}
		c.mu.Unlock()
		c.checkRecords("stock", begin.Add(5*time.Second), begin.Add(time.Minute))
		if n := len(c.launches("sales")); n != 0 {
			t.Errorf("%d launches of a task that cannot be claimed", n)
		}
		if tried < 5 || tried > 6 {
			t.Errorf("%d tries of a command that takes 10 s", tried)
		}
	})
}

// The leader's clock is ahead of the one that stamps: what it thinks is due is
// refused for a while. It tries again, at a decent pace.
func TestClockAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].ahead = 2 * time.Second
		begin := time.Now()
		c.put(every("sales", 20*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(2*time.Minute + 5*time.Second)
		synctest.Wait()
		c.check()
		c.checkRecords("sales", begin.Add(20*time.Second), begin.Add(2*time.Minute))
		if n := count(c.states("sales"), fsm.OccurrenceSucceeded); n != 6 {
			t.Errorf("%d of 6 succeeded", n)
		}
		if n := c.nodes[0].metric("usher_scheduler_refusals_total"); n < 6 || n > 60 {
			t.Errorf("%v refusals", n)
		}
	})
}

// The leader's clock is behind the one that stamped a request: what the state says
// has happened is not in the future.
func TestClockBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].ahead = -5 * time.Second
		c.put(every("sales", time.Hour))
		c.lead(c.nodes[0])
		time.Sleep(time.Minute)
		c.must(&fsm.RequestRun{Task: "sales"})
		time.Sleep(100 * time.Millisecond)
		if n := len(c.launches("sales")); n != 1 {
			t.Errorf("%d launches", n)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		begin := time.Now()
		c.put(every("sales", 10*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(25 * time.Second)
		c.must(&fsm.PauseTask{Name: "sales", Paused: true, Reason: "stocktaking"})
		time.Sleep(10 * time.Minute)
		c.must(&fsm.PauseTask{Name: "sales"})
		time.Sleep(20 * time.Second)
		synctest.Wait()
		c.check()
		var got []time.Duration
		for _, o := range c.occurrences("sales") {
			got = append(got, o.Due.Time().Sub(begin))
			if o.State != fsm.OccurrenceSucceeded {
				t.Errorf("due %s is %s", o.Due.Time(), o.State)
			}
		}
		want := []time.Duration{10 * time.Second, 20 * time.Second, 630 * time.Second, 640 * time.Second}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("due times (-want +got):\n%s", d)
		}
	})
}

// Nobody leads for three minutes, with a catch-up of one: what is older is missed,
// of the rest the latest is run.
func TestMissedWithoutLeader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		begin := time.Now()
		c.put(every("sales", 20*time.Second))
		time.Sleep(3*time.Minute + time.Second)
		c.lead(c.nodes[0])
		time.Sleep(2 * time.Second)
		c.check()
		c.checkRecords("sales", begin.Add(20*time.Second), begin.Add(3*time.Minute))
		rows := c.occurrences("sales")
		for i, o := range rows {
			want := fsm.OccurrenceMissed
			if i == len(rows)-1 {
				want = fsm.OccurrenceSucceeded
			}
			if o.State != want || (o.Error == "") != (want == fsm.OccurrenceSucceeded) {
				t.Errorf("due %s: %s (%q), want %s with a reason", o.Due.Time(), o.State, o.Error, want)
			}
		}
	})
}

// 2,000 missed times take many rounds, and hold up no other task meanwhile.
func TestManyMissed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.must(&fsm.SetSetting{Key: "scheduler.history", Value: "5000"})
		begin := time.Now()
		c.put(every("big", time.Second))
		time.Sleep(2000*time.Second + 500*time.Millisecond)
		c.put(every("small", time.Second))
		c.lead(c.nodes[0])
		time.Sleep(12 * time.Second)
		c.must(&fsm.PauseTask{Name: "big", Paused: true})
		c.must(&fsm.PauseTask{Name: "small", Paused: true})
		time.Sleep(time.Second)
		c.check()
		c.checkRecords("big", begin.Add(time.Second), begin.Add(2010*time.Second))
		for _, l := range c.launches("small") {
			if late := l.begin.Sub(l.Due); late > 200*time.Millisecond {
				t.Errorf("small was launched %s late", late)
			}
		}
		if n := len(c.launches("small")); n < 11 {
			t.Errorf("small was launched %d times", n)
		}
	})
}

func TestOverlap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(25 * time.Second)
		}
		c.put(every("sales", 10*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(71 * time.Second)
		synctest.Wait()
		c.check()
		ok, skip := fsm.OccurrenceSucceeded, fsm.OccurrenceSkipped
		want := []fsm.OccurrenceState{ok, skip, skip, ok, skip, skip, fsm.OccurrenceStarted}
		if d := cmp.Diff(want, c.states("sales")); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}

func TestRunByHand(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(2 * time.Second)
		c.put(every("sales", time.Hour))
		c.must(&fsm.PauseTask{Name: "sales", Paused: true})
		c.lead(c.nodes[0])
		// A paused task can be run by hand; several requests run one after another.
		asked := time.Now()
		for range 3 {
			c.must(&fsm.RequestRun{Task: "sales"})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		c.check()
		runs := c.launches("sales")
		if len(runs) != 3 || count(c.states("sales"), fsm.OccurrenceSucceeded) != 3 {
			t.Fatalf("%d launches, states %v", len(runs), c.states("sales"))
		}
		if late := runs[0].begin.Sub(asked); late > 100*time.Millisecond {
			t.Errorf("launched %s after it was asked for", late)
		}
	})
}

// A run by hand that was asked for in the very instant of a due time takes its place.
func TestRunByHandAtDueTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		begin := time.Now()
		c.put(every("sales", 10*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(9 * time.Second)
		c.rest()
		time.Sleep(time.Second)
		c.must(&fsm.RequestRun{Task: "sales"})
		c.lead(c.nodes[0])
		time.Sleep(31 * time.Second)
		synctest.Wait()
		c.check()
		c.checkRecords("sales", begin.Add(10*time.Second), begin.Add(40*time.Second))
		if n := len(c.launches("sales")); n != 4 {
			t.Errorf("%d launches, want 4", n)
		}
	})
}

func TestRemovedTask(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(time.Minute)
		c.put(every("sales", 10*time.Second))
		c.lead(c.nodes[0])
		time.Sleep(15 * time.Second)
		c.must(&fsm.RemoveTask{Name: "sales"})
		time.Sleep(2 * time.Minute)
		c.check()
		if d := cmp.Diff([]fsm.OccurrenceState{fsm.OccurrenceSucceeded}, c.states("sales")); d != "" {
			t.Errorf("states (-want +got):\n%s", d)
		}
	})
}
