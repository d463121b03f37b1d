package consensus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// killed crashes the leader of five nodes and returns the elections by detection that
// followed. prepare is told who will be left.
func killed(t *testing.T, prepare func(c *group, l *member, left []*member)) (e *elections, took time.Duration) {
	c := newGroup(t, 5)
	defer c.stopAll()
	c.net.SetDelay(time.Millisecond)
	l := c.leader("")
	time.Sleep(2 * time.Second)
	left := c.others(l)
	e = new(elections)
	for _, m := range left {
		e.watch(m)
	}
	prepare(c, l, left)
	began := time.Now()
	go c.crash(l.id)
	next := c.leader(l.id)
	took = time.Since(began)
	time.Sleep(2 * time.Second)
	if now := c.leader(l.id); now != next {
		t.Errorf("%s led, and then %s", next.id, now.id)
	}
	c.agree()
	return e, took
}

// TestElectionOnSlowDisks has disks that the first needs 90 ms to write to before it
// asks, or that the others need 150 ms to write to before they answer.
func TestElectionOnSlowDisks(t *testing.T) {
	for _, takes := range [][2]time.Duration{{30 * time.Millisecond, 30 * time.Millisecond}, {5 * time.Millisecond, 50 * time.Millisecond}} {
		synctest.Test(t, func(t *testing.T) {
			e, took := killed(t, func(_ *group, _ *member, left []*member) {
				for i, m := range left {
					m.slowly.Store(int64(takes[min(i, 1)]))
				}
			})
			if len(e.stood) != 1 {
				t.Errorf("%v: candidates: %v; want one", takes, e.stood)
			}
			t.Logf("%v: another led after %v", takes, took)
		})
	}
}

// TestLateStatement has the one with the best claim speak after the others have agreed
// without it: while they wait for it, and when they no longer do.
func TestLateStatement(t *testing.T) {
	const most = 60 * time.Millisecond
	for _, late := range []time.Duration{2 * time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			e, took := killed(t, func(_ *group, l *member, left []*member) {
				left[0].refused = func(to peer.ID) bool { // twice
					time.Sleep(2*time.Millisecond + late/2) // the others take 2 ms, there and back
					return to == l.id
				}
			})
			if len(e.stood) != 1 || took > most {
				t.Errorf("%v late: candidates: %v; another led after %v; want one, within %v", late, e.stood, took, most)
			}
		})
	}
}

// TestFirstThatLosesIsFollowed makes the first in rank one whose log is shorter than it
// was thought to be: the others' logs have grown since they spoke.
func TestFirstThatLosesIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		first, second := c.others(l)[0], c.others(l)[1]
		c.muteRaft(first.id)
		w := c.write(1, []*member{l}, time.Second)
		time.Sleep(20 * time.Millisecond) // second has an entry that first has not
		c.unmute(first.id)
		c.muteRaft(l.id)
		term := second.store.raft.CurrentTerm()
		began := time.Now()
		behind := first.store.facts()
		behind.LastIndex += 2
		second.store.gone(first.id, l.id, term, behind)
		second.store.state(l.id, term)
		time.Sleep(5 * time.Millisecond)
		c.stand(first)
		c.within(150*time.Millisecond, "the second leads", func() bool { return second.store.Status().IsLeader })
		t.Logf("after %v", time.Since(began))
		c.unmute(l.id)
		w.end()
		c.agree()
	})
}

// TestSplitVotesAreFollowed has two of four survivors stand at once, each with half of
// the votes.
func TestSplitVotesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 5)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		left := c.others(l)
		c.muteRaft(l.id)
		term := l.store.Status().Term
		var e elections
		for _, m := range left {
			e.watch(m)
			for _, other := range left {
				m.store.crash.note(other.id, statement{l.id, term, other.store.logEnd(), time.Now()})
			}
		}
		c.net.Cut(c.hosts[left[0].id], c.hosts[left[3].id])
		c.net.Cut(c.hosts[left[1].id], c.hosts[left[2].id])
		began := time.Now()
		c.stand(left[1])
		for _, m := range left { // the first of them stands
			if m != left[1] {
				m.store.judge(l.id, term)
			}
		}
		time.Sleep(20 * time.Millisecond)
		for _, m := range left {
			if st := m.store.Status(); st.IsLeader || st.Term != term+1 {
				t.Fatalf("%s is in term %d, leads: %v: no split", m.id, st.Term, st.IsLeader)
			}
		}
		c.net.Heal(c.hosts[left[0].id], c.hosts[left[3].id])
		c.net.Heal(c.hosts[left[1].id], c.hosts[left[2].id])
		c.within(250*time.Millisecond, "somebody leads", func() bool { return left[2].store.Status().IsLeader })
		t.Logf("terms %v, the second won after %v", e.terms, time.Since(began))
		c.unmute(l.id)
		time.Sleep(2 * time.Second)
		c.agree()
	})
}

// TestElectedAgainBeforeItsStartWasSeen restarts a leader and elects it again, before
// the pulse shows anybody its boot number.
func TestElectedAgainBeforeItsStartWasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		for _, m := range c.others(l) {
			m.refused = func(peer.ID) bool { return false }
		}
		c.cutPulse(l.id, true)
		time.Sleep(10 * time.Millisecond)
		c.crash(l.id)
		c.start(l.id)
		c.stand(l)
		c.within(100*time.Millisecond, "it leads again", func() bool { return l.store.Status().IsLeader })
		time.Sleep(50 * time.Millisecond)
		var e elections
		for _, m := range c.others(l) {
			e.watch(m)
		}
		term := l.store.Status().Term
		c.cutPulse(l.id, false)
		time.Sleep(3 * time.Second)
		for _, m := range c.others(l) {
			if beat, ok := m.store.pulse.Latest(l.id); !ok || beat.Boot != l.boot {
				t.Errorf("%s has not seen its new start: this test sees nothing", m.id)
			}
		}
		if st := l.store.Status(); !st.IsLeader || st.Term != term || len(e.terms) > 0 {
			t.Errorf("term %d became %d, elections by detection %v", term, st.Term, e.terms)
		}
	})
}

// TestWhoeverLeadsCrashes kills the leader of five as soon as there is one, under load.
func TestWhoeverLeadsCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 5)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		c.leader("")
		time.Sleep(2 * time.Second)
		var e elections
		var all []*member
		for _, i := range c.ids {
			all = append(all, c.nodes[i])
			e.watch(c.nodes[i])
		}
		w := c.write(5, all, 20*time.Millisecond)
		began, kills := time.Now(), 0
		for ; time.Since(began) < 35*time.Second; kills++ {
			l := c.leader("")
			time.Sleep(300 * time.Millisecond)
			c.crash(l.id)
			time.Sleep(200 * time.Millisecond)
			c.start(l.id)
			e.watch(l)
		}
		time.Sleep(3 * time.Second)
		w.end()
		c.agree()
		t.Logf("%d kills, %d elections by detection, the others by timeouts", kills, len(e.at))
		// One that has just started has not spoken yet, and is never a majority.
		if kills < 15 || len(e.at) < 1 {
			t.Fatal("too few of them: this test sees nothing")
		}
		for i := range e.at[1:] {
			if d := e.at[i+1].Sub(e.at[i]); d < crashDamping {
				t.Errorf("two elections by detection within %v", d)
			}
		}
	})
}
