package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// AddVoter makes a server a voter. Only the leader can.
func (s *Store) AddVoter(ctx context.Context, id peer.ID) error {
	return s.change(ctx, "add voter", func(t time.Duration) raft.IndexFuture {
		return s.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(id), 0, t)
	})
}

// AddNonvoter lets a server follow the log without a vote. Only the leader can.
func (s *Store) AddNonvoter(ctx context.Context, id peer.ID) error {
	return s.change(ctx, "add non-voter", func(t time.Duration) raft.IndexFuture {
		return s.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(id), 0, t)
	})
}

// Demote takes a server's vote. Only the leader can.
func (s *Store) Demote(ctx context.Context, id peer.ID) error {
	return s.change(ctx, "demote voter", func(t time.Duration) raft.IndexFuture {
		return s.raft.DemoteVoter(raft.ServerID(id), 0, t)
	})
}

// Remove takes a server out of Raft's configuration. Only the leader can.
func (s *Store) Remove(ctx context.Context, id peer.ID) error {
	return s.change(ctx, "remove server", func(t time.Duration) raft.IndexFuture {
		return s.raft.RemoveServer(raft.ServerID(id), 0, t)
	})
}

// Handover is a planned move of leadership to another voter. It holds new proposals
// back, waits until the pulse shows the end of our log at the chosen voter, asks it to
// stand, and resumes if nobody deposed us within an election timeout.
//
// raft's own LeadershipTransfer is not used: it can leave the cluster without a
// leader for long (raft#696).
func (s *Store) Handover(ctx context.Context, to peer.ID) error {
	t, err := s.leading(ctx)
	if err != nil {
		return err
	}
	defer s.hold()()
	ctx, cancel := context.WithTimeout(ctx, handoverTimeout)
	defer cancel()
	for s.calls.count() > 0 { // else the log would grow under the chosen one's feet
		if !pause(ctx, time.Millisecond) {
			return fmt.Errorf("move central role: entries are still under way: %w", ctx.Err())
		}
	}
	return s.handOver(ctx, t, to)
}

// hold keeps proposals and changes of the voters back until release is called.
func (s *Store) hold() (release func()) {
	s.holds.Add(1)
	return func() {
		s.holds.Add(-1)
		s.released.ring()
	}
}

// handOver moves a term whose log does not grow.
func (s *Store) handOver(ctx context.Context, t term, to peer.ID) error {
	var end mark
	for {
		end = s.logEnd() // each time: a term that has just begun has yet to write its first entry
		at, err := s.pulse.Ask(ctx, to)
		if err != nil {
			return fmt.Errorf("move central role: ask how far the chosen node is: %w", err)
		}
		if end.term == t.number && at.LastTerm == end.term && at.LastIndex >= end.index {
			break
		}
		if !pause(ctx, time.Millisecond) {
			return fmt.Errorf("move central role: the chosen node has %d of %d entries: %w", at.LastIndex, end.index, ctx.Err())
		}
	}
	if err := s.pulse.Stand(to, t.number, end.index); err != nil {
		return fmt.Errorf("move central role: %w", err)
	}
	limit := time.NewTimer(s.cfg.Election)
	defer limit.Stop()
	select {
	case <-t.ctx.Done():
		return nil
	case <-limit.C:
		return errors.New("move central role: the chosen node did not win its election; this one goes on")
	case <-ctx.Done():
		return fmt.Errorf("move central role: wait for the election: %w", ctx.Err())
	}
}

const handoverTimeout = time.Second

// standFor hears that a server wants this node to stand: only the leader that it
// follows may, in its own term, when nothing of its log is missing here. A leader that
// has just won may be faster than the word of its victory.
func (s *Store) standFor(from peer.ID, term, index uint64) {
	s.spawn(func() {
		ctx, cancel := s.whileOpen(s.cfg.Election)
		defer cancel()
		for {
			changed := s.leads.changed()
			leader, now, ok := s.follows()
			if ok && from == leader && now == term && s.raft.LastIndex() >= index {
				break
			}
			if leader != "" || now > term || !pauseFor(ctx, changed, s.cfg.Election) {
				s.log.Warn().Str(logs.Peer, string(from)).Uint64(logs.Term, term).Msg("asked to stand for election, and does not")
				return
			}
		}
		if err := s.trans.stand(ctx, raft.ServerID(s.cfg.Self)); err != nil {
			s.log.Warn().Err(err).Msg("cannot stand for election")
		}
	})
}

// Progress asks a server for the index of the last entry of its log.
func (s *Store) Progress(ctx context.Context, id peer.ID) (uint64, error) {
	at, err := s.pulse.Ask(ctx, id)
	return at.LastIndex, err
}

// Snapshot makes Raft write a snapshot and give its log back now.
func (s *Store) Snapshot() error {
	err := s.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// reachable guesses how many voters this node can reach: itself, and those that it
// leads or follows. It is for messages only.
func (s *Store) reachable(st Status) int {
	if s.cfg.Reachable != nil {
		n := 0
		for _, v := range st.Voters {
			if v == s.cfg.Self || s.cfg.Reachable(v) {
				n++
			}
		}
		return n
	}
	return 1
}
