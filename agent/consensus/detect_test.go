package consensus

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/consensus/pulse"
	"github.com/ushercluster/usher/agent/peer"
)

// elections sees the votes that are asked for by who stands at once: term and time.
type elections struct {
	mu    sync.Mutex
	terms []uint64
	at    []time.Time
	stood []string // each candidate in each term, by both
	// planned are terms that do not count.
	planned []uint64
}

// during keeps what do brings about out of the count: it is a planned move.
func (e *elections) during(do func()) {
	e.mu.Lock()
	n := len(e.at)
	e.mu.Unlock()
	do()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.planned, e.at = append(e.planned, e.terms[n:]...), e.at[:n]
	e.terms = e.terms[:n]
}

// watch looks at what one member is asked. It ends with the member's Raft.
func (e *elections) watch(m *member) {
	m.store.raft.RegisterObserver(raft.NewObserver(nil, false, func(o *raft.Observation) bool {
		if req, ok := o.Data.(raft.RequestVoteRequest); ok && req.LeadershipTransfer {
			e.mu.Lock()
			defer e.mu.Unlock()
			if who := fmt.Sprintf("%s in %d", req.ID, req.Term); !slices.Contains(e.stood, who) {
				e.stood = append(e.stood, who)
			}
			if !slices.Contains(e.terms, req.Term) && !slices.Contains(e.planned, req.Term) {
				e.terms, e.at = append(e.terms, req.Term), append(e.at, time.Now())
			}
		}
		return false
	}))
}

func TestKilledLeaderIsReplacedAtOnce(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprintf("%d nodes", n), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { killUnderLoad(t, n) }) })
	}
}

func killUnderLoad(t *testing.T, n int) {
	c := newGroup(t, n)
	defer c.stopAll()
	c.net.SetDelay(time.Millisecond)
	l := c.leader("")
	time.Sleep(2 * time.Second)
	w := c.write(8, c.others(l), 5*time.Millisecond)
	time.Sleep(time.Second)
	began := time.Now()
	go c.crash(l.id)
	const settle = 5 * time.Millisecond // what was on its way back from the leader arrives
	took := w.next(began.Add(settle)) + settle
	t.Logf("%d nodes: the next write was acknowledged %v after the kill", n, took)
	if most := 60 * time.Millisecond; took > most {
		t.Errorf("it took %v, want %v", took, most)
	}
	time.Sleep(3 * time.Second)
	w.end()
	c.agree()
}

// TestOneVoterAloneBringsNoElection resets a follower's connections again and again, and
// lets it believe that the leader's port refuses.
func TestOneVoterAloneBringsNoElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		alone := c.others(l)[0]
		var asked atomic.Int32
		alone.refused = func(to peer.ID) bool { asked.Add(1); return to == l.id }
		term := l.store.Status().Term
		heard := map[time.Time]bool{} // its statements
		for range 30 {
			c.breakOff(alone.id, l.id)
			time.Sleep(time.Second)
			d := &c.others(l)[1].store.crash
			d.mu.Lock()
			if st, has := d.said[alone.id]; has {
				heard[st.at] = true
			}
			d.mu.Unlock()
		}
		if n := len(heard); n < 2 || n > 3 {
			t.Errorf("%d statements in thirty seconds, want one every ten", n)
		}
		if st := l.store.Status(); st.Term != term || !st.IsLeader {
			t.Errorf("term %d became %d", term, st.Term)
		}
		if asked.Load() == 0 {
			t.Error("the leader's port was never tried: this test sees nothing")
		}
	})
}

// TestLeaderThatHangsIsLeftToTheTimeouts cuts it off without a word: its connections stay
// open. Then it resets them, and its port still accepts.
func TestLeaderThatHangsIsLeftToTheTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		var e elections
		for _, m := range c.others(l) {
			e.watch(m)
		}
		term := l.store.Status().Term
		c.breakOff(l.id)
		time.Sleep(5 * time.Second)
		if st := l.store.Status(); st.Term != term || !st.IsLeader {
			t.Fatalf("term %d became %d, by connections that were reset", term, st.Term)
		}
		began := time.Now()
		c.net.Isolate(c.hosts[l.id])
		c.leader(l.id)
		if took := time.Since(began); took < 450*time.Millisecond {
			t.Errorf("there was another leader after %v", took)
		}
		time.Sleep(10 * time.Second)
		if len(e.terms) > 0 {
			t.Errorf("%d elections by detection", len(e.terms))
		}
		c.net.HealAll()
	})
}

func TestNonVoterTakesNoPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 4)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		follower := c.others(l)[0]
		if err := l.store.Demote(t.Context(), follower.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		said := make(chan peer.ID, 100)
		for _, m := range c.others(l)[1:] {
			m.refused = func(peer.ID) bool { said <- m.id; return false }
		}
		follower.refused = func(peer.ID) bool { said <- follower.id; return true }
		crashed := make(chan struct{})
		go func() { c.crash(l.id); close(crashed) }()
		time.Sleep(300 * time.Millisecond)
		<-crashed
		tried := 0
		for len(said) > 0 {
			if tried++; <-said == follower.id {
				t.Fatal("it tried the leader's port")
			}
		}
		if tried == 0 {
			t.Fatal("nobody tried the leader's port: this test sees nothing")
		}
		leader, term := l.id, follower.store.raft.CurrentTerm()
		for _, from := range c.others(follower) {
			follower.store.gone(from.id, leader, term, pulse.Facts{})
		}
		if d := &follower.store.crash; !d.decided.IsZero() || len(d.said) == 0 {
			t.Errorf("it decides about %d statements", len(d.said))
		}
		if _, has := follower.store.crash.said[follower.id]; has {
			t.Error("it says something itself")
		}
	})
}

// TestTheNextInRankStandsIfTheFirstDoesNot kills the leader, and makes the one with the
// best claim stand where nobody hears it.
func TestTheNextInRankStandsIfTheFirstDoesNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 5)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		first := c.others(l)[0] // the logs are the same, its ID is the lowest
		c.muteRaft(first.id)
		began := time.Now()
		go c.crash(l.id)
		next := c.leader(l.id)
		if took := time.Since(began); next == first || took > 250*time.Millisecond {
			t.Errorf("%s leads after %v", next.id, took)
		}
		c.unmute(first.id)
		time.Sleep(time.Second)
	})
}

// TestSecondInRank tells a follower what a majority says of a leader that is silent: it
// waits for the first, and gives way if that one stands.
func TestSecondInRank(t *testing.T) {
	for _, firstStands := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newTrio(t)
			defer c.stopAll()
			c.net.SetDelay(time.Millisecond)
			l := c.leader("")
			time.Sleep(2 * time.Second)
			first, second := c.others(l)[0], c.others(l)[1]
			var e elections
			e.watch(first)
			e.watch(second)
			c.muteRaft(l.id)
			term := second.store.raft.CurrentTerm()
			began := time.Now()
			second.store.gone(first.id, l.id, term, first.store.facts())
			second.store.state(l.id, term)
			want := second
			if firstStands {
				time.Sleep(10 * time.Millisecond)
				c.stand(first)
				want = first
			}
			c.within(rankPause+50*time.Millisecond, "another leads", func() bool { return want.store.Status().IsLeader })
			if took := time.Since(began); !firstStands && took < rankPause {
				t.Errorf("it stood after %v", took)
			}
			time.Sleep(300 * time.Millisecond)
			if len(e.terms) != 1 || !want.store.Status().IsLeader {
				t.Errorf("terms %v, %v still leads: want one election", e.terms, want.store.Status().IsLeader)
			}
			c.unmute(l.id)
		})
	}
}

// TestVotersVoteOnce asks a voter for its vote by two candidates in one term. What tells
// them apart is the address that Raft gives, which must not be where they listen.
func TestVotersVoteOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		voter := c.others(l)[0]
		st := voter.store.Status()
		granted := 0
		for _, m := range []*member{l, c.others(l)[1]} {
			tr := m.store.trans
			addr := tr.EncodePeer(raft.ServerID(m.id), tr.LocalAddr())
			req := &raft.RequestVoteRequest{
				RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(m.id), Addr: addr},
				Term:      st.Term + 1, LastLogIndex: st.LastIndex + 1, LastLogTerm: st.Term, LeadershipTransfer: true,
			}
			var resp raft.RequestVoteResponse
			if err := tr.RequestVote(raft.ServerID(voter.id), raft.ServerAddress(voter.id), req, &resp); err != nil {
				t.Fatal(err)
			}
			if resp.Granted {
				granted++
			}
		}
		if granted != 1 {
			t.Errorf("%d votes in one term", granted)
		}
	})
}

// TestLeadersThatCrashAgainAndAgain has two of five machines that die whenever they
// lead, under load, and that get the central role again and again.
func TestLeadersThatCrashAgainAndAgain(t *testing.T) {
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
		sick := all[:2]
		w := c.write(5, all, 20*time.Millisecond)
		began, kills := time.Now(), 0
		for ; time.Since(began) < 25*time.Second; kills++ {
			l := c.leader("")
			time.Sleep(500 * time.Millisecond)
			for !slices.Contains(sick, l) {
				e.during(func() {
					_ = l.store.Handover(t.Context(), sick[kills%2].id) // or it leads by now
					l = c.leader("")
					time.Sleep(200 * time.Millisecond)
				})
			}
			c.crash(l.id)
			time.Sleep(200 * time.Millisecond)
			c.start(l.id)
			e.watch(l)
		}
		w.end()
		t.Logf("%d kills, %d elections by detection", kills, len(e.at))
		if kills < 10 || len(e.at) < 2 {
			t.Error("too few of them: this test sees nothing")
		}
		for i := range e.at[1:] {
			// A split vote has a second term, of the same election.
			if d := e.at[i+1].Sub(e.at[i]); d < 10*time.Second && d > 300*time.Millisecond {
				t.Errorf("two elections by detection within %v", d)
			}
		}
		c.agree()
	})
}

// TestRestartThatNobodySawRefuse restarts a leader so quickly that its port always
// accepts: its new boot number tells.
func TestRestartThatNobodySawRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		var e elections
		for _, m := range c.others(l) {
			m.refused = func(peer.ID) bool { return false }
			e.watch(m)
		}
		term := l.store.Status().Term
		began := time.Now()
		c.crash(l.id)
		c.start(l.id)
		down := time.Since(began)
		c.within(time.Second, "another term", func() bool { return c.leader("").store.Status().Term > term })
		t.Logf("a leader %v after the kill, %v of which it was down", time.Since(began), down)
		if len(e.terms) != 1 || e.at[0].Sub(began) > 300*time.Millisecond {
			t.Errorf("elections by detection: terms %v, the first after %v", e.terms, e.at[0].Sub(began))
		}
	})
}
