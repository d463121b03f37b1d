package consensus

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/consensus/pulse"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// A process that has died leaves a host that refuses connections, and the others need
// not wait for a timeout to know. A voter whose connection to the leader ended, and
// whom the leader's port then refuses twice, says so to the other voters; so does one
// that hears from a new start of the leader's process. When a majority of the voters
// has said the same of one leader and term, the one of them with the longest log
// stands at once, the n-th after n times 50 ms.
//
// One voter alone never brings an election about: it may be the one that is cut off.
// A leader that hangs, or whose host is gone, refuses nothing and is left to Raft's
// timeouts. And the same machine that dies again and again does not keep the cluster
// voting: who has taken part in this once does not again for ten seconds. Safety is
// Raft's alone: this only asks for an election early.
const (
	probes       = 6
	probePause   = 10 * time.Millisecond
	rankPause    = 50 * time.Millisecond
	crashDamping = 10 * time.Second
	statementAge = 5 * time.Second // older ones are forgotten
	probeTimeout = 500 * time.Millisecond
)

// statement is what a voter says of a leader.
type statement struct {
	leader peer.ID
	term   uint64
	end    mark // of the voter's own log
	at     time.Time
}

// standing says when self should stand, given what the voters have said of the leader
// of a term: ok when a majority of the voters has, self among them, and after is its
// rank among those by (last log term, last index, ID) times rankPause.
func standing(self, leader peer.ID, term uint64, voters []peer.ID, said map[peer.ID]statement, now time.Time) (after time.Duration, ok bool) {
	var agree []peer.ID
	for _, id := range voters {
		st, has := said[id]
		if has && id != leader && st.leader == leader && st.term == term && now.Sub(st.at) < statementAge {
			agree = append(agree, id)
		}
	}
	if len(agree) < len(voters)/2+1 || !slices.Contains(agree, self) {
		return 0, false
	}
	slices.SortFunc(agree, func(a, b peer.ID) int {
		x, y := said[a].end, said[b].end
		return cmp.Or(cmp.Compare(y.term, x.term), cmp.Compare(y.index, x.index), cmp.Compare(a, b))
	})
	return time.Duration(slices.Index(agree, self)) * rankPause, true
}

// detector keeps the statements. Its zero value is ready.
type detector struct {
	mu      sync.Mutex
	said    map[peer.ID]statement
	spoke   time.Time // when this node has last made a statement
	decided time.Time // when a majority had last agreed
	probing bool
}

// damped reports whether this node has made a statement lately. It counts also if the
// election that followed was over before a majority of them had come here.
func (d *detector) damped(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.spoke.IsZero() && now.Sub(d.spoke) < crashDamping
}

// speak keeps a statement of our own, unless there was one lately.
func (d *detector) speak(self peer.ID, st statement) bool {
	if d.damped(st.at) {
		return false
	}
	d.note(self, st)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.spoke = st.at
	return true
}

// note keeps a statement.
func (d *detector) note(from peer.ID, st statement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.said == nil {
		d.said = map[peer.ID]statement{}
	}
	d.said[from] = st
}

// decide reports when self should stand, at most once within crashDamping.
func (d *detector) decide(self, leader peer.ID, term uint64, voters []peer.ID, now time.Time) (after time.Duration, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.decided.IsZero() && now.Sub(d.decided) < crashDamping {
		return 0, false
	}
	if after, ok = standing(self, leader, term, voters, d.said, now); ok {
		d.decided = now
		clear(d.said)
	}
	return after, ok
}

// begin and end keep it to one probe at a time.
func (d *detector) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.probing {
		return false
	}
	d.probing = true
	return true
}

func (d *detector) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probing = false
}

// follows reports the leader that this node, a voter, follows, and its term.
func (s *Store) follows() (leader peer.ID, term uint64, ok bool) {
	term = s.raft.CurrentTerm()
	leader = s.leader()
	ok = leader != "" && leader != s.cfg.Self && s.raft.State() == raft.Follower && slices.Contains(s.voters(), s.cfg.Self)
	return leader, term, ok
}

// linkDown hears that the pulse's connection to a server ended.
func (s *Store) linkDown(id peer.ID) {
	s.lost.Store(id, true)
	leader, term, ok := s.follows()
	if !ok || id != leader || s.cfg.Pulse.Refused == nil || s.crash.damped(time.Now()) || !s.crash.begin() {
		return
	}
	if !s.spawn(func() {
		defer s.crash.end()
		if s.refusedTwice(leader) {
			s.state(leader, term)
		}
	}) {
		s.crash.end()
	}
}

// refusedTwice dials a server until it was refused twice in a row, a few times at most:
// of a process that is ending, some connections may go before the listener does.
func (s *Store) refusedTwice(id peer.ID) bool {
	refusals := 0
	for try := range probes {
		if try > 0 && !pause(s.life, probePause) {
			return false
		}
		ctx, cancel := s.whileOpen(probeTimeout)
		refused := s.cfg.Pulse.Refused(ctx, id)
		cancel()
		switch {
		case !refused:
			refusals = 0
		case refusals == 1:
			return true
		default:
			refusals++
		}
	}
	return false
}

// restarted hears that a server's process is a new one.
func (s *Store) restarted(id peer.ID) {
	if leader, term, ok := s.follows(); ok && id == leader && !s.crash.damped(time.Now()) {
		s.state(leader, term)
	}
}

// state makes our own statement.
func (s *Store) state(leader peer.ID, term uint64) {
	if !s.crash.speak(s.cfg.Self, statement{leader, term, s.logEnd(), time.Now()}) {
		return
	}
	s.log.Info().Str(logs.Peer, string(leader)).Uint64(logs.Term, term).Msg("the central node's process is gone")
	s.pulse.Gone(leader, term)
	s.judge(leader, term)
}

// gone hears another server's statement.
func (s *Store) gone(from, leader peer.ID, term uint64, at pulse.Facts) {
	s.crash.note(from, statement{leader, term, mark{at.LastIndex, at.LastTerm}, time.Now()})
	s.judge(leader, term)
}

// judge stands for election if a majority agrees.
func (s *Store) judge(leader peer.ID, term uint64) {
	if s.raft.CurrentTerm() != term {
		return
	}
	after, ok := s.crash.decide(s.cfg.Self, leader, term, s.voters(), time.Now())
	if !ok {
		return
	}
	s.spawn(func() {
		for after > 0 {
			asked := s.trans.voteAsked.changed()
			began := time.Now()
			if !pauseFor(s.life, asked, after) {
				return
			}
			if time.Since(began) >= after {
				break
			}
		}
		// The term may have moved on: whoever stood first may have lost, because its log
		// had grown since it spoke, or ours.
		if now := s.leader(); now != leader && now != "" || s.raft.State() == raft.Leader {
			return
		}
		ctx, cancel := s.whileOpen(s.cfg.Election)
		defer cancel()
		if err := s.trans.stand(ctx, raft.ServerID(s.cfg.Self)); err != nil {
			s.log.Debug().Err(err).Msg("cannot stand for election")
		}
	})
}

// spawn runs a short piece of work that Close waits for; false when the store closes.
func (s *Store) spawn(work func()) bool {
	if !s.loose.begin() {
		return false
	}
	go func() {
		defer s.loose.end()
		work()
	}()
	return true
}
