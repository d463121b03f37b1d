package consensus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Reads that wait for the same confirmation share it, but only one that began after
// they arrived: what was confirmed before says nothing about writes that were
// acknowledged since.
//
//	read --> next ----+          +-> next ...
//	read --> next ----+-> round -+-> their answers
//
// rounds runs one round at a time. Its zero value is ready.
type rounds struct {
	mu      sync.Mutex
	next    *round // for readers that have arrived since the present one began
	running bool
}

type round struct {
	done     chan struct{}
	revision uint64 // what a reader has to see
	err      error
}

// join waits for a round that begins from now on. confirm is called by at most one
// goroutine at a time, with a context that the readers' do not end, because others
// may share the round.
func (r *rounds) join(ctx context.Context, spawn func(func()) bool, confirm func() (uint64, error)) (uint64, error) {
	r.mu.Lock()
	if r.next == nil {
		r.next = &round{done: make(chan struct{})}
	}
	mine := r.next
	if !r.running {
		if r.running = spawn(func() { r.run(confirm) }); !r.running {
			r.next = nil
			r.mu.Unlock()
			return 0, ErrClosed
		}
	}
	r.mu.Unlock()
	select {
	case <-mine.done:
		return mine.revision, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run confirms rounds until nobody waits for another.
func (r *rounds) run(confirm func() (uint64, error)) {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		if now == nil {
			r.running = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		now.revision, now.err = confirm()
		close(now.done)
	}
}

// Read returns a view that holds everything that was acknowledged before the call
// began, on whichever node. It writes nothing: a majority of voters is asked whether
// the leader still leads, and reads that wait share the question.
func (s *Store) Read(ctx context.Context) (fsm.View, error) {
	// As nearly always on the leader: a round ends by itself, and needs no timer.
	if t := s.term.now(); t.ctx != nil && t.isReady() {
		if v, err := s.ReadHere(ctx); err == nil {
			return v, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	wait, leaderless := retryFirst, time.Now()
	var last error
	for {
		changed := s.leads.changed()
		if leader := s.leader(); leader != "" {
			leaderless = time.Now()
			v, err := s.readFrom(ctx, leader)
			if err == nil {
				return v, nil
			}
			last = err
		}
		if time.Since(leaderless) >= leaderlessWait || !pauseFor(ctx, changed, wait) {
			return fsm.View{}, s.gaveUp(ctx, false, last)
		}
		wait = min(2*wait, retryMax)
	}
}

func (s *Store) readFrom(ctx context.Context, leader peer.ID) (fsm.View, error) {
	if leader == s.cfg.Self {
		return s.ReadHere(ctx)
	}
	rev, err := s.reads.join(ctx, s.spawn, func() (uint64, error) {
		ctx, cancel := s.whileOpen(s.cfg.Election)
		defer cancel()
		return s.pulse.ReadIndex(ctx, s.leader())
	})
	if err != nil {
		return fsm.View{}, fmt.Errorf("ask the leader: %w", err)
	}
	return s.Reached(ctx, rev)
}

// ReadHere is a linearizable read at the leader; ErrNotLeader elsewhere. The view is
// taken when (a) everything of earlier terms has been applied here, (b) a majority of
// voters has said, after the call began, that it knows of no later term, (c) this
// node still leads the same term, and (d) everything that was committed when the call began
// has been applied here: a follower may have been faster and may have shown it.
func (s *Store) ReadHere(ctx context.Context) (fsm.View, error) {
	if _, err := s.confirmHere(ctx); err != nil {
		return fsm.View{}, err
	}
	return s.cfg.FSM.View(), nil
}

// confirmHere joins a round of the leader and gives the revision that it confirmed.
func (s *Store) confirmHere(ctx context.Context) (uint64, error) {
	t, err := s.leading(ctx)
	if err != nil {
		return 0, err
	}
	select {
	case <-t.ready:
	case <-t.ctx.Done():
		return 0, ErrNotLeader
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the entries of earlier terms: %w", ctx.Err())
	}
	return s.confirms.join(ctx, s.spawn, s.confirm)
}

// confirm is one round at the leader.
func (s *Store) confirm() (uint64, error) {
	t := s.term.now()
	if t.ctx == nil || !t.isReady() {
		return 0, ErrNotLeader
	}
	ctx, cancel := s.whileOpen(s.cfg.Election)
	defer cancel()
	committed := s.raft.CommitIndex()
	if err := s.pulse.Round(ctx, s.voters(), t.number); err != nil {
		return 0, fmt.Errorf("confirm the leadership: %w", err)
	}
	if err := s.applied.wait(ctx, committed); err != nil {
		return 0, err
	}
	revision := s.cfg.FSM.View().Revision()
	if now := s.term.now(); now.number != t.number || s.raft.State() != raft.Leader || s.raft.CurrentTerm() != t.number {
		return 0, ErrNotLeader
	}
	return revision, nil
}

// whileOpen is a context that ends with the store, or after d.
func (s *Store) whileOpen(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.life, d)
}

func (s *Store) voters() []peer.ID {
	var out []peer.ID
	for _, srv := range s.servers() {
		if srv.Suffrage == raft.Voter {
			out = append(out, peer.ID(srv.ID))
		}
	}
	return out
}

// Reached waits until this node's state has reached a revision.
func (s *Store) Reached(ctx context.Context, rev uint64) (fsm.View, error) {
	for {
		v := s.cfg.FSM.View()
		if v.Revision() >= rev {
			return v, nil
		}
		select {
		case <-v.Newer():
		case <-ctx.Done():
			return fsm.View{}, fmt.Errorf("wait for revision %d: %w", rev, ctx.Err())
		case <-s.stop:
			return fsm.View{}, ErrClosed
		}
	}
}
