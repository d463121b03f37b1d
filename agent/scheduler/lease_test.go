package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func TestLeaseIsRenewed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(5 * time.Minute)
		}
		c.put(one("sales"))
		c.lead(c.nodes[0])
		time.Sleep(6 * time.Minute)
		c.check()
		o := c.only("sales")
		if o.State != fsm.OccurrenceSucceeded || o.Attempt != 1 || o.Rows != 7 || o.Output != "done" {
			t.Errorf("occurrence %+v", o)
		}
		m := c.nodes[0]
		got := []float64{
			m.metric("usher_scheduler_lease_renewals_total", "ok"), m.metric("usher_scheduler_running"),
			m.metric("usher_scheduler_occurrences_total", "succeeded"),
			m.metric("usher_scheduler_lateness_seconds", "claim"), m.metric("usher_scheduler_lateness_seconds", "start"),
		}
		if d := cmp.Diff([]float64{30, 0, 1, 1, 1}, got); d != "" {
			t.Errorf("metrics (-want +got):\n%s", d)
		}
	})
}

// The node that runs an attempt dies: the attempt is lost 45 s after its last
// renewal, and the next one runs elsewhere.
func TestKilledWorker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, m := range c.nodes {
			m.work = busyFor(time.Minute)
		}
		c.put(one("sales"))
		c.lead(c.nodes[2])
		time.Sleep(5 * time.Second)
		dead := c.nodes[0]
		if n := c.launches("sales"); len(n) != 1 || n[0].node != dead.id {
			t.Fatalf("launches %+v, want one on %s", n, dead.id)
		}
		renewed := c.only("sales").Renewed.Time()
		dead.crash()
		dead.gossip(peer.StatusFailed)
		time.Sleep(2 * time.Minute)
		c.check()
		o := c.only("sales")
		if o.State != fsm.OccurrenceSucceeded || o.Attempt != 2 || o.Node == dead.id || len(o.History) != 1 {
			t.Fatalf("occurrence %+v, want the second attempt to succeed elsewhere", o)
		}
		lost := o.History[0]
		after := lost.Ended.Time().Sub(renewed)
		if lost.State != fsm.OccurrenceLost || after < fsm.LeaseLost || after > fsm.LeaseLost+100*time.Millisecond {
			t.Errorf("first attempt %s after %s, want lost after %s", lost.State, after, fsm.LeaseLost)
		}
	})
}

// A node is cut off while it runs something: it aborts 20 s after it sent the last
// renewal that was acknowledged, long before the attempt is given to another.
func TestCutOffWorkerAborts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for _, m := range c.nodes {
			m.work = busyFor(10 * time.Minute)
		}
		c.put(one("sales"))
		c.lead(c.nodes[2])
		time.Sleep(26 * time.Second) // two renewals
		lone := c.nodes[0]
		renewed := c.only("sales").Renewed.Time()
		lone.reach(false)
		time.Sleep(time.Minute)
		runs := c.launches("sales")
		if len(runs) != 2 || runs[0].node != lone.id || runs[1].node == lone.id {
			t.Fatalf("launches %+v", runs)
		}
		if d := runs[0].end.Sub(renewed); d > fsm.LeaseAbort || d < fsm.LeaseAbort-time.Second {
			t.Errorf("aborted %s after the last renewal, want %s", d, fsm.LeaseAbort)
		}
		if d := runs[1].begin.Sub(renewed); d < fsm.LeaseLost {
			t.Errorf("the next attempt began %s after the last renewal of this one", d)
		}
		lone.reach(true)
		time.Sleep(15 * time.Minute)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceSucceeded || o.Attempt != 2 {
			t.Errorf("occurrence %+v", o)
		}
	})
}

// Renewals take their time until they are stamped. The lease counts from when they
// were sent, so a node that is cut off aborts that much earlier.
func TestLeaseCountsFromSending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const delay = 5 * time.Second
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(10 * time.Minute)
		}
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			if _, renew := cmd.(*fsm.RenewOccurrence); renew {
				return fault{delay: delay}
			}
			return fault{}
		}
		c.put(one("sales"))
		c.lead(c.nodes[1])
		time.Sleep(time.Minute)
		renewed := c.only("sales").Renewed.Time()
		c.nodes[0].reach(false)
		time.Sleep(30 * time.Second)
		l := c.launches("sales")[0]
		if d := l.end.Sub(renewed.Add(-delay)); l.end.IsZero() || d > fsm.LeaseAbort {
			t.Errorf("aborted %s after the last renewal was sent, want %s", d, fsm.LeaseAbort)
		}
	})
}

// The lease is lost although it was renewed, because the state's clock was moved:
// the next renewal is refused, and the work is aborted at once.
func TestLostLease(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(10 * time.Minute)
		task := one("sales")
		task.Attempts = 1
		c.put(task)
		c.lead(c.nodes[0])
		time.Sleep(12 * time.Second)
		c.mu.Lock()
		c.skew = time.Minute
		c.mu.Unlock()
		o := c.only("sales")
		c.must(&fsm.LoseOccurrence{OccurrenceID: idOf(o), Fence: o.Fence, Reason: "the clock was moved"})
		time.Sleep(fsm.LeaseRenew)
		if l := c.launches("sales")[0]; l.end.IsZero() {
			t.Errorf("the work goes on without a lease")
		}
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceLost {
			t.Errorf("occurrence %+v", o)
		}
		if n := c.nodes[0].metric("usher_scheduler_lease_renewals_total", "refused"); n != 1 {
			t.Errorf("%v renewals refused", n)
		}
	})
}

// A renewal is applied and its answer is lost, for ever: what counts is what the
// node knows, so it aborts all the same.
func TestUnacknowledgedRenewals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(10 * time.Minute)
		task := one("sales")
		task.Attempts = 1
		c.put(task)
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			_, renew := cmd.(*fsm.RenewOccurrence)
			return fault{lostAck: renew}
		}
		c.lead(c.nodes[0])
		time.Sleep(5 * time.Minute)
		c.check()
		o := c.only("sales")
		if o.State != fsm.OccurrenceFailed || o.Error != errLease.Error() {
			t.Errorf("%s (%s), want failed: %s", o.State, o.Error, errLease)
		}
		l := c.launches("sales")[0]
		if d := l.end.Sub(l.begin); d > fsm.LeaseAbort {
			t.Errorf("aborted after %s, want at most %s", d, fsm.LeaseAbort)
		}
	})
}

// A start is committed and its answer is lost: the same command finds out that it
// was, and the work is launched once.
func TestLostAnswerToStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		n := 0
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			if _, start := cmd.(*fsm.StartOccurrence); start {
				n++
				return fault{lostAck: n == 1}
			}
			return fault{}
		}
		c.put(one("sales"))
		c.lead(c.nodes[0])
		time.Sleep(time.Minute)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceSucceeded || o.Attempt != 1 || len(c.launches("sales")) != 1 {
			t.Errorf("occurrence %+v, %d launches", o, len(c.launches("sales")))
		}
	})
}

// The answer to a start arrives when the lease is as good as over: nothing is
// launched, and the attempt fails with the reason.
func TestLateAnswerToStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		n := 0
		c.fault = func(_ peer.ID, cmd fsm.Command) fault {
			if _, start := cmd.(*fsm.StartOccurrence); start {
				n++
				return fault{lostAck: n <= 2}
			}
			return fault{}
		}
		task := one("sales")
		task.Attempts = 1
		c.put(task)
		c.lead(c.nodes[0])
		time.Sleep(time.Minute)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceFailed || o.Error != tooLate || len(c.launches("sales")) != 0 {
			t.Errorf("occurrence %+v, %d launches", o, len(c.launches("sales")))
		}
	})
}
