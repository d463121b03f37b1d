package consensus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

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

// Handover is a planned move of leadership. It holds new proposals back, lets ask
// make the chosen voter stand once it has everything up to index, and resumes if
// nobody deposed us within one election timeout.
//
// raft's own LeadershipTransfer is not used: it can leave the cluster without a
// leader for long (raft#696).
func (s *Store) Handover(ctx context.Context, ask func(ctx context.Context, term, index uint64) error) error {
	term, number, _ := s.term.now()
	if term == nil {
		return ErrNotLeader
	}
	s.holds.Add(1)
	defer s.holds.Add(-1)
	actx, cancel := context.WithTimeout(ctx, handoverTimeout)
	defer cancel()
	for s.calls.count() > 0 { // else the log would grow under the chosen one's feet
		if !pause(actx, time.Millisecond) {
			return fmt.Errorf("move central role: entries are still under way: %w", actx.Err())
		}
	}
	if err := ask(actx, number, s.raft.LastIndex()); err != nil {
		return fmt.Errorf("move central role: %w", err)
	}
	t := time.NewTimer(2 * s.cfg.Election)
	defer t.Stop()
	select {
	case <-term.Done():
		return nil
	case <-t.C:
		return errors.New("move central role: the chosen node did not win its election; this one goes on")
	case <-ctx.Done():
		return ctx.Err()
	}
}

const handoverTimeout = time.Second

// Stand makes this node stand for election as soon as its log reaches index, if the
// term has not moved on: the other half of Handover.
func (s *Store) Stand(ctx context.Context, term, index uint64) error {
	for s.raft.LastIndex() < index {
		if !pause(ctx, 2*time.Millisecond) {
			return fmt.Errorf("stand for election: log at %d of %d: %w", s.raft.LastIndex(), index, ctx.Err())
		}
	}
	if now := s.raft.CurrentTerm(); now != term {
		return fmt.Errorf("stand for election: the term is %d by now, not %d", now, term)
	}
	return s.trans.stand(ctx, raft.ServerID(s.cfg.Self))
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
