package scheduler

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// one is a task that is due once in a test.
func one(name string) fsm.Task {
	t := every(name, 24*time.Hour)
	t.Start = fsm.StampOf(time.Now().Add(time.Second))
	t.Timeout = time.Hour
	return t
}

// only is the task's single occurrence.
func (c *cluster) only(task string) *fsm.Occurrence {
	c.t.Helper()
	rows := c.occurrences(task)
	if len(rows) != 1 {
		c.t.Fatalf("%d occurrences of %s, want one", len(rows), task)
	}
	return rows[0]
}

// The end of an attempt is recorded also when the node is cut off at that moment.
func TestEndIsRecordedLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(5 * time.Second)
		}
		c.put(one("sales"))
		c.lead(c.nodes[1])
		time.Sleep(3 * time.Second)
		c.nodes[0].reach(false)
		time.Sleep(15 * time.Second)
		c.nodes[0].reach(true)
		time.Sleep(30 * time.Second)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceSucceeded || o.Attempt != 1 {
			t.Errorf("occurrence %+v", o)
		}
	})
}

func TestRestartedNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(20 * time.Second)
		}
		task := one("sales")
		task.Attempts = 1
		c.put(task)
		c.lead(c.nodes[1])
		time.Sleep(5 * time.Second)
		m := c.nodes[0]
		m.crash()
		m.reach(true)
		m.start()
		time.Sleep(time.Second)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceFailed || o.Error != restarted {
			t.Errorf("%s (%s), want failed: %s", o.State, o.Error, restarted)
		}
		if n := len(c.launches("sales")); n != 1 {
			t.Errorf("%d launches", n)
		}
	})
}

// A restarted node sees the claim first, because its state lags: its start is
// refused, nothing is launched, and what the former process left behind is ended.
func TestRestartedNodeThatLags(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(20 * time.Second)
		}
		c.put(one("sales"))
		m := c.nodes[0]
		c.lead(c.nodes[1])
		time.Sleep(5 * time.Second)
		m.crash()
		// The state as it was right after the claim.
		m.f, m.applied = fsm.New(fsm.Options{}), 0
		for o := m.f.View().OpenOccurrences(); len(o) == 0; o = m.f.View().OpenOccurrences() {
			if _, err := m.f.Apply(c.log[m.applied]); err != nil {
				t.Fatal(err)
			}
			m.applied++
		}
		if o := m.f.View().OpenOccurrences()[0]; o.State != fsm.OccurrenceClaimed {
			t.Fatalf("the lagging node sees %s", o.State)
		}
		lagging := &laggard{member: m}
		s, err := New(Config{Self: m.id, Store: lagging, Run: m.run, Peers: c.peers})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- s.Run(ctx) }()
		time.Sleep(2 * time.Second)
		if n := lagging.refused.Load(); n != 1 {
			t.Errorf("%d refused starts, want one", n)
		}
		m.reach(true)
		time.Sleep(time.Second)
		stop()
		if err := <-gone; err != nil {
			t.Error(err)
		}
		first := append(c.only("sales").History, fsm.Attempt{})[0]
		if first.State != fsm.OccurrenceFailed || first.Error != restarted {
			t.Errorf("first attempt %+v, want failed: %s", first, restarted)
		}
		c.check()
	})
}

// laggard can write, and reads nothing new until its member is reached.
type laggard struct {
	*member
	refused atomic.Int64
}

func (l *laggard) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	if _, start := p.Command.(*fsm.StartOccurrence); start {
		res, err := l.c.commit(p)
		if err == nil && res.Code != "" {
			l.refused.Add(1)
		}
		return res, err
	}
	return l.member.Apply(ctx, p)
}

func TestStoppedNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for _, m := range c.nodes {
			m.work = busyFor(time.Minute)
		}
		c.put(one("sales"))
		c.lead(c.nodes[1])
		time.Sleep(5 * time.Second)
		c.nodes[0].gossip(peer.StatusLeft)
		before := time.Now()
		c.nodes[0].stop()
		if d := time.Since(before); d > time.Second || c.nodes[0].err != nil {
			t.Errorf("stopping took %s, error %v", d, c.nodes[0].err)
		}
		o := c.only("sales")
		if o.State != fsm.OccurrencePending || o.Error != errStopped.Error() {
			t.Errorf("%s (%s), want pending: %s", o.State, o.Error, errStopped)
		}
		time.Sleep(2 * time.Minute)
		c.check()
		if o := c.only("sales"); o.State != fsm.OccurrenceSucceeded || o.Node != c.nodes[1].id {
			t.Errorf("occurrence %+v", o)
		}
	})
}

// A node that stops without a quorum does so in time.
func TestStopWithoutQuorum(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(time.Minute)
		c.put(one("sales"))
		c.lead(c.nodes[0])
		time.Sleep(5 * time.Second)
		c.rest()
		before := time.Now()
		c.nodes[0].crash()
		if d := time.Since(before); d > DefaultStopTimeout+time.Second || c.nodes[0].err != nil {
			t.Errorf("stopping took %s, error %v", d, c.nodes[0].err)
		}
	})
}

func TestWorkThatDoesNotStop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		free := make(chan struct{})
		c.nodes[0].work = func(context.Context, Job) Outcome { <-free; return Outcome{} }
		c.put(one("sales"))
		c.lead(c.nodes[0])
		time.Sleep(5 * time.Second)
		before := time.Now()
		c.nodes[0].stop()
		if d := time.Since(before); d > DefaultStopTimeout+2*time.Second || !errors.Is(c.nodes[0].err, ErrStuck) {
			t.Errorf("stopping took %s, error %v", d, c.nodes[0].err)
		}
		if o := c.only("sales"); o.State != fsm.OccurrenceStarted {
			t.Errorf("%s while the work is still going on", o.State)
		}
		close(free)
		synctest.Wait()
	})
}

// A job that takes too long is ended by its timeout, and its lease kept until then.
func TestTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(time.Hour)
		task := one("sales")
		task.Attempts, task.Timeout = 1, 2*time.Minute
		c.put(task)
		c.lead(c.nodes[0])
		time.Sleep(5 * time.Minute)
		c.check()
		l := c.launches("sales")[0]
		if d := l.end.Sub(l.begin); d != task.Timeout+timeoutGrace {
			t.Errorf("ended after %s", d)
		}
		if o := c.only("sales"); o.State != fsm.OccurrenceFailed || o.Error != errTimeout.Error() {
			t.Errorf("%s (%s)", o.State, o.Error)
		}
	})
}

func TestFailedAttempts(t *testing.T) {
	for _, tc := range []struct {
		name      string
		permanent bool
		launches  int
	}{{"passing", false, 3}, {"permanent", true, 1}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				for _, m := range c.nodes {
					m.work = func(context.Context, Job) Outcome {
						return Outcome{Err: errors.New("line 3: a quote is open"), Permanent: tc.permanent, Output: strings.Repeat("ä", 90_000)}
					}
				}
				c.put(one("sales"))
				c.lead(c.nodes[0])
				time.Sleep(time.Minute)
				c.check()
				o := c.only("sales")
				if o.State != fsm.OccurrenceFailed || len(c.launches("sales")) != tc.launches || len(o.Output) > fsm.MaxOutputBytes {
					t.Errorf("%s after %d launches, %d bytes of output", o.State, len(c.launches("sales")), len(o.Output))
				}
				runs := c.launches("sales")
				if len(runs) > 1 && runs[0].node == runs[1].node {
					t.Errorf("the second attempt ran on the same node")
				}
			})
		})
	}
}

func TestParallel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		running, most := 0, 0
		c.nodes[0].work = func(ctx context.Context, _ Job) Outcome {
			c.mu.Lock()
			running++
			most = max(most, running)
			c.mu.Unlock()
			wait(ctx, 3*time.Second)
			c.mu.Lock()
			running--
			c.mu.Unlock()
			return Outcome{}
		}
		c.must(&fsm.SetSetting{Key: "scheduler.parallel", Value: "2"})
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			c.put(one(name))
		}
		c.lead(c.nodes[0])
		time.Sleep(time.Minute)
		c.check()
		if most != 2 {
			t.Errorf("at most %d ran at a time, want 2", most)
		}
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			if d := cmp.Diff([]fsm.OccurrenceState{fsm.OccurrenceSucceeded}, c.states(name)); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
		}
	})
}

// A node keeps to the bound also when leaders, between them, gave it more.
func TestParallelOfOneNode(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 1)
		c.nodes[0].work = busyFor(4 * time.Second)
		c.must(&fsm.SetSetting{Key: "scheduler.parallel", Value: "1"})
		names := []string{"a", "b", "c"}
		for _, name := range names {
			c.put(every(name, time.Second))
		}
		time.Sleep(time.Second)
		for _, name := range names {
			c.must(&fsm.ClaimOccurrence{
				OccurrenceID: fsm.OccurrenceID{Task: name, Due: fsm.StampOf(time.Now())}, Attempt: 1, Node: c.nodes[0].id, Engine: "builtin",
			})
		}
		time.Sleep(20 * time.Second)
		c.check()
		for i, l := range c.runs {
			if i > 0 && l.begin.Before(c.runs[i-1].end) {
				t.Errorf("%s began while %s ran", l.Task, c.runs[i-1].Task)
			}
		}
		if len(c.runs) != 3 {
			t.Errorf("%d launches, want 3", len(c.runs))
		}
	})
}

// The node to which a run was given does not start it: the claim is lost after
// 15 s, at once when gossip says that the node is gone.
func TestClaimNotStarted(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status peer.Status
		within time.Duration
	}{{"silent", peer.StatusAlive, claimLost + time.Second}, {"failed", peer.StatusFailed, time.Second}} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				c.nodes[0].reach(false)
				c.put(one("sales"))
				c.lead(c.nodes[1])
				time.Sleep(1100 * time.Millisecond)
				claimed := c.only("sales")
				if claimed.State != fsm.OccurrenceClaimed || claimed.Node != c.nodes[0].id {
					t.Fatalf("occurrence %+v", claimed)
				}
				c.nodes[0].gossip(tc.status)
				time.Sleep(tc.within)
				o := c.only("sales")
				if len(o.History) != 1 || o.History[0].State != fsm.OccurrenceLost {
					t.Errorf("occurrence %+v, want the claim lost", o)
				}
				time.Sleep(time.Minute)
				c.check()
				if o := c.only("sales"); o.State != fsm.OccurrenceSucceeded || o.Node != c.nodes[1].id {
					t.Errorf("occurrence %+v", o)
				}
			})
		})
	}
}
