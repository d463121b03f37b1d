package consensus

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

// Those who agree that the leader is gone stand for election in turn. Two that stand
// at once split the votes, and one that stands while another has just won deposes it:
// either costs more than waiting. So
//
//   - ranks are taken when all whom the pulse reaches have spoken, or hearPause after a
//     majority has;
//   - who is asked for a vote begins to wait anew, and longer if it can give it;
//   - nobody stands while another leads.
const (
	hearPause = 20 * time.Millisecond
	// rankPause is what a candidate may take until it asks: it writes its term and its
	// own vote to the disk before, three times in all.
	rankPause = 100 * time.Millisecond
	// votePause is what the voters may take, who write as much, and the winner to tell.
	votePause = 150 * time.Millisecond
	// lossPause is between those who stand after a candidate that has likely lost.
	lossPause = 50 * time.Millisecond
)

// giveWay is how long one of a rank waits after it was asked for its vote. A candidate
// whose log ends before our own does not get it, and has likely lost; of two in one
// term at most one wins.
func giveWay(asked ballot, own mark, rank int) time.Duration {
	if asked.contested || own.compare(asked.end) > 0 {
		return time.Duration(max(rank, 1)) * lossPause
	}
	return votePause + time.Duration(rank)*rankPause
}

// judge begins to stand for election if a majority agrees.
func (s *Store) judge(leader peer.ID, term uint64) {
	if s.raft.CurrentTerm() == term && s.crash.decide(s.poll(leader, term)) {
		s.spawn(func() {
			if rank, ok := s.rank(leader, term); ok {
				s.campaign(leader, term, rank)
			}
		})
	}
}

func (s *Store) poll(leader peer.ID, term uint64) poll {
	return poll{self: s.cfg.Self, leader: leader, term: term, voters: s.voters(), reached: s.pulse.Alive, now: time.Now()}
}

// rank waits until all have spoken who are likely to. It is not ok when a majority does
// not agree any more.
func (s *Store) rank(leader peer.ID, term uint64) (rank int, ok bool) {
	ctx, cancel := s.whileOpen(hearPause)
	defer cancel()
	for {
		heard := s.crash.heard.changed()
		rank, all, ok := s.crash.standing(s.poll(leader, term))
		if all || !ok || ctx.Err() != nil {
			return rank, ok
		}
		pauseFor(ctx, heard, hearPause)
	}
}

// campaign stands for election when it is this node's turn, and once more after each
// candidate that fails, until somebody leads. After an election timeout it leaves that
// to Raft's timeouts.
func (s *Store) campaign(leader peer.ID, term uint64, rank int) {
	ctx, cancel := s.whileOpen(s.cfg.Election)
	defer cancel()
	var seen ballot
	due, stood := time.Now().Add(time.Duration(rank)*rankPause), false
	for {
		asked, changed := s.trans.ballots.latest()
		if asked.term > term && asked != seen {
			seen, stood = asked, false
			due = time.Now().Add(giveWay(asked, s.logEnd(), rank))
		}
		if s.succeeded(leader, term) || ctx.Err() != nil {
			return
		}
		if !stood && !time.Now().Before(due) {
			stood = true
			if s.raft.State() == raft.Candidate {
				continue // it does not hear that it should again
			}
			if err := s.trans.stand(ctx, raft.ServerID(s.cfg.Self)); err != nil {
				s.log.Debug().Err(err).Msg("cannot stand for election")
			}
		}
		wait := s.cfg.Election // for the next candidate
		if !stood {
			wait = time.Until(due)
		}
		pauseFor(ctx, changed, wait)
	}
}

// succeeded reports whether somebody leads in place of the leader of a term: another, or
// the same that was elected anew.
func (s *Store) succeeded(leader peer.ID, term uint64) bool {
	now := s.leader()
	return s.raft.State() == raft.Leader || now != "" && (now != leader || s.raft.CurrentTerm() > term)
}
