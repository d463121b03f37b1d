package consensus

import (
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
// stands at once, and the others in turn (campaign.go).
//
// One voter alone never brings an election about: it may be the one that is cut off.
// A leader that hangs, or whose host is gone, refuses nothing and is left to Raft's
// timeouts. And the same machine that dies again and again does not keep the cluster
// voting: who has taken part in this once does not again for ten seconds. Safety is
// Raft's alone: this only asks for an election early.
const (
	probes       = 12
	probePause   = 5 * time.Millisecond
	crashDamping = 10 * time.Second
	statementAge = 5 * time.Second // older ones are forgotten
	probeTimeout = 500 * time.Millisecond
)

// detector keeps the statements. Its zero value is ready.
type detector struct {
	mu      sync.Mutex
	said    map[peer.ID]statement
	spoke   time.Time // when this node has last made a statement
	decided time.Time // when a majority had last agreed
	probing bool
	heard   bulletin // a statement has come
	// parted are our terms when the pulse's connection to a server last ended.
	parted map[peer.ID]uint64
}

// damped reports whether this node has made a statement lately. It counts also if the
// election that followed was over before a majority of them had come here.
func (d *detector) damped(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.justSpoke(now)
}

func (d *detector) justSpoke(now time.Time) bool {
	return !d.spoke.IsZero() && now.Sub(d.spoke) < crashDamping
}

// speak reports whether a statement of our own may be made now, which counts as made
// then: there was none lately.
func (d *detector) speak(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.justSpoke(now) {
		return false
	}
	d.spoke = now
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
	d.heard.ring()
}

// decide reports whether a majority agrees, at most once within crashDamping.
func (d *detector) decide(p poll) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.decided.IsZero() && p.now.Sub(d.decided) < crashDamping {
		return false
	}
	p.said = d.said
	_, _, ok := p.standing()
	if ok {
		d.decided = p.now
	}
	return ok
}

// standing is poll.standing by the statements that are kept.
func (d *detector) standing(p poll) (rank int, all, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p.said = d.said
	return p.standing()
}

// part keeps the term in which a server's process was last connected, as far as we
// know it; led reports whether that process can be the one that led a term.
func (d *detector) part(id peer.ID, term uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.parted == nil {
		d.parted = map[peer.ID]uint64{}
	}
	d.parted[id] = term
}

func (d *detector) led(id peer.ID, term uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, known := d.parted[id]
	delete(d.parted, id)
	return !known || term <= last
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
	s.crash.part(id, s.raft.CurrentTerm())
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

// restarted hears that a server's process is a new one. If the connection to the former
// one had ended before the present term, it is the new one that was elected.
func (s *Store) restarted(id peer.ID) {
	leader, term, ok := s.follows()
	if ledIt := s.crash.led(id, term); ok && ledIt && id == leader && !s.crash.damped(time.Now()) {
		s.state(leader, term)
	}
}

// state makes our own statement.
func (s *Store) state(leader peer.ID, term uint64) {
	now := time.Now()
	if s.cfg.NoDetection || !s.crash.speak(now) {
		return
	}
	s.log.Info().Str(logs.Peer, string(leader)).Uint64(logs.Term, term).Msg("the central node's process is gone")
	at := s.pulse.Gone(leader, term) // the others rank us by this end of our log, and so do we
	s.crash.note(s.cfg.Self, statement{leader, term, mark{at.LastIndex, at.LastTerm}, now})
	s.judge(leader, term)
}

// gone hears another server's statement.
func (s *Store) gone(from, leader peer.ID, term uint64, at pulse.Facts) {
	s.crash.note(from, statement{leader, term, mark{at.LastIndex, at.LastTerm}, time.Now()})
	s.judge(leader, term)
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
