package consensus

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/consensus/pulse"
)

func TestClockOffset(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name   string
		others []time.Duration
		vote   bool
		voters int
		want   time.Duration
		ok     bool
	}{
		{"alone", nil, true, 1, 0, true},
		{"nobody is known", nil, true, 3, 0, false},
		{"one other of three: nearer to ours", []time.Duration{9 * s}, true, 3, 0, true},
		{"two others of three agree", []time.Duration{9 * s, 9 * s}, true, 3, 9 * s, true},
		{"two others of three do not", []time.Duration{9 * s, -9 * s}, true, 3, 0, true},
		{"behind", []time.Duration{-40 * s, -41 * s}, true, 3, -40 * s, true},
		{"one other of five", []time.Duration{9 * s}, true, 5, 0, false},
		{"two others of five", []time.Duration{9 * s, 8 * s}, true, 5, 8 * s, true},
		{"four others of five", []time.Duration{9 * s, 8 * s, 7 * s, -s}, true, 5, 7 * s, true},
		{"even: the middle one that is nearer to ours", []time.Duration{9 * s, 8 * s, -s}, true, 4, 0, true},
		{"even, behind", []time.Duration{-9 * s, -8 * s, -s}, true, 4, -s, true},
		{"we do not vote", []time.Duration{9 * s, 9 * s}, false, 3, 9 * s, true},
		{"we do not vote, one is known", []time.Duration{9 * s}, false, 3, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, ok := clockOffset(c.others, c.vote, c.voters)
			if got != c.want || ok != c.ok {
				t.Errorf("%v, %v; want %v, %v", got, ok, c.want, c.ok)
			}
		})
	}
}

// TestAheadAfter holds another clock against ours, which may have been set meanwhile.
func TestAheadAfter(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		name                        string
		ahead, passed, byWall, want time.Duration
	}{
		{"nothing happened", 3 * s, s, s, 3 * s},
		{"ours was set forward", 0, s, 41 * s, -40 * s},
		{"ours was set back", 0, s, -39 * s, 40 * s},
		{"ours was set right", 40 * s, s, 41 * s, 0},
	} {
		if got := aheadAfter(c.ahead, c.passed, c.byWall); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	received := time.Now()
	b := pulse.Beat{Received: received, Ahead: 3 * s}
	if got := aheadNow(b, received.Add(s)); got != 3*s {
		t.Errorf("a second later: %v", got)
	}
	b.Received = received.Round(0) // without a monotonic reading
	if got := aheadNow(b, received.Add(s)); got != 3*s {
		t.Errorf("without a monotonic clock: %v", got)
	}
}

// TestOffsetIsKept looks at the voters' clocks once a beat, however many entries there are.
func TestOffsetIsKept(t *testing.T) {
	s := time.Second
	looks, found := 0, 3*s
	var l lastOffset
	look := func() (time.Duration, bool) { looks++; return found, found != 0 }
	began := time.Now()
	wall := began.Round(0)
	for _, c := range []struct {
		name  string
		now   time.Time
		found time.Duration
		want  time.Duration
		looks int
	}{
		{"the first", began, 3 * s, 3 * s, 1},
		{"at once", began, 9 * s, 3 * s, 1},
		{"within the beat", began.Add(s - 1), 9 * s, 3 * s, 1},
		{"the next beat", began.Add(s), 9 * s, 9 * s, 2},
		{"within that", began.Add(s + s/2), 0, 9 * s, 2},
		{"nothing is known", began.Add(2 * s), 0, 0, 3},
		{"our clock was set back", wall.Add(-3600 * s), 5 * s, 5 * s, 4},
		{"our clock was set forward", wall.Add(40 * s), 6 * s, 6 * s, 5},
	} {
		found = c.found
		if got, ok := l.get(c.now, look); got != c.want || ok != (c.want != 0) || looks != c.looks {
			t.Errorf("%s: %v, %v after %d looks; want %v after %d", c.name, got, ok, looks, c.want, c.looks)
		}
	}
}

// stampedBy writes a row at a member and gives the time that it was stamped with.
func stampedBy(t *testing.T, m *member, name string) time.Time {
	t.Helper()
	if _, err := m.store.Propose(t.Context(), put(name)); err != nil {
		t.Fatal(err)
	}
	return m.store.View().At()
}

func TestLeaderWithAClockThatIsOff(t *testing.T) {
	for _, off := range []time.Duration{5 * time.Second, -5 * time.Second, 40 * time.Second, -time.Hour} {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTrio(t)
				defer c.stopAll()
				l := c.leader("")
				time.Sleep(2 * time.Second)
				before := stampedBy(t, l, "before")
				l.ahead.Store(int64(off)) // a clock that is set while it leads
				time.Sleep(2 * time.Second)
				if d := time.Since(stampedBy(t, l, "row")); d.Abs() > clockCorrected {
					t.Errorf("stamped %v ago", d)
				}
				if !l.store.View().At().After(before) {
					t.Error("time went back")
				}
				if st := l.store.Status(); !st.IsLeader {
					t.Error("it gave the role up in the middle of its term")
				}
			})
		})
	}
}

// TestSmallOffsetsAreLeftAlone keeps a leader's own clock, but never goes back.
func TestSmallOffsetsAreLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		l.ahead.Store(int64(1500 * time.Millisecond))
		time.Sleep(2 * time.Second)
		first := stampedBy(t, l, "first")
		if d := time.Until(first); d != 1500*time.Millisecond {
			t.Errorf("stamped %v ahead, want its own clock", d)
		}
		l.ahead.Store(0)
		time.Sleep(time.Second)
		if second := stampedBy(t, l, "second"); second.Before(first) {
			t.Errorf("time went back by %v", first.Sub(second))
		}
	})
}

// TestNobodyKnowsTheTime leaves a leader's clock alone when no majority shows its own.
func TestNobodyKnowsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 5)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(2 * time.Second)
		l.ahead.Store(int64(10 * time.Second))
		for _, m := range c.others(l)[:3] {
			c.net.Cut(c.hosts[l.id], c.hosts[m.id])
		}
		time.Sleep(clockFresh + time.Second)
		if off, ok := l.store.offset(); ok {
			t.Errorf("two clocks of five make %v", off)
		}
		if d := time.Until(l.store.now()); d != 10*time.Second {
			t.Errorf("it would stamp %v ahead", d)
		}
		c.net.HealAll()
	})
}

// TestClockThatIsFarOffGivesTheRoleUp elects nodes whose clocks are forty seconds off:
// one of three, and two of five, which must not hand the role to each other. That takes
// their own term and the next, and some round trips of 2 ms.
func TestClockThatIsFarOffGivesTheRoleUp(t *testing.T) {
	for _, n := range []int{3, 5} {
		synctest.Test(t, func(t *testing.T) {
			c := newGroup(t, n)
			defer c.stopAll()
			c.net.SetDelay(time.Millisecond)
			time.Sleep(2 * time.Second)
			l := c.nodes[c.ids[n-1]] // the others come first when one is chosen
			if old := c.leader(""); old != l {
				if err := old.store.Handover(t.Context(), l.id); err != nil {
					t.Fatal(err)
				}
			}
			bad := c.others(l)[:n/2]
			for _, m := range bad {
				m.ahead.Store(int64(40 * time.Second))
			}
			time.Sleep(3 * time.Second)
			for k := range 6 {
				term := c.leader("").store.Status().Term
				stands := bad[k%len(bad)]
				c.stand(stands)
				good := func() bool {
					for _, m := range bad {
						if m != stands && m.store.Status().IsLeader {
							t.Fatal("the role was handed to another whose clock is as far off")
						}
					}
					st := l.store.Status()
					return st.Leader != "" && c.nodes[st.Leader].ahead.Load() == 0 && st.Term == term+2
				}
				c.within(50*time.Millisecond, "a node with a good clock leads in the next term", good)
				if _, err := l.store.Apply(t.Context(), put(fmt.Sprintf("row-%d", k))); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				if !good() {
					t.Errorf("%s leads in term %d, after %d", l.store.Status().Leader, l.store.Status().Term, term)
				}
			}
			for _, m := range c.others(nil) {
				if d := time.Until(m.store.View().At()); d > clockCorrected {
					t.Errorf("%s: the state's time is %v ahead", m.id, d)
				}
			}
		})
	}
}
