package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/logs"
)

// terms turns Raft's notifications of leadership into contexts. Raft's own LeaderCh
// keeps only the last change; this keeps each: a term that was won and lost between
// two looks has still cancelled its context.
type terms struct {
	mu      sync.Mutex
	present term
	cancel  context.CancelFunc
	changed bulletin
}

// term is a term that this node leads.
type term struct {
	ctx    context.Context // ends with it; nil when this node does not lead
	number uint64
	ready  chan struct{} // closed when everything of earlier terms has been applied here
}

func (t term) isReady() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// set begins a term, or with leads false ends it.
func (t *terms) set(leads bool, number uint64) term {
	t.mu.Lock()
	if t.cancel != nil {
		t.cancel()
		t.present, t.cancel = term{}, nil
	}
	if leads {
		t.present = term{number: number, ready: make(chan struct{})}
		t.present.ctx, t.cancel = context.WithCancel(context.Background())
	}
	now := t.present
	t.mu.Unlock()
	t.changed.ring()
	return now
}

func (t *terms) now() term {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.present
}

// leading is the term that this node leads, once Raft's word of it has come through;
// ErrNotLeader when it does not lead.
func (s *Store) leading(ctx context.Context) (term, error) {
	for {
		changed := s.term.changed.changed()
		switch t := s.term.now(); {
		case s.life.Err() != nil:
			return term{}, ErrClosed
		case t.ctx != nil:
			return t, nil
		case s.raft.State() != raft.Leader:
			return term{}, ErrNotLeader
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return term{}, fmt.Errorf("wait for the term to begin: %w", ctx.Err())
		case <-s.stop:
			return term{}, ErrClosed
		}
	}
}

func (s *Store) watchLeadership(notify <-chan bool) {
	for {
		select {
		case leads := <-notify:
			number := s.raft.CurrentTerm()
			if leads {
				s.log.Info().Uint64(logs.Term, number).Msg("this node is the central node now")
			} else {
				s.log.Info().Uint64(logs.Term, number).Msg("this node is no longer the central node")
			}
			s.stats.leaderChanges.Inc()
			t := s.term.set(leads, number)
			if leads {
				s.wg.Go(func() { s.begin(t) })
			}
			s.released.ring() // who was held back looks again
		case <-s.stop:
			s.term.set(false, 0)
			return
		}
	}
}

// begin makes a term ready: the role is given up if this node's clock is far off, and
// everything of earlier terms is applied.
func (s *Store) begin(t term) {
	s.giveUpForClock(t)
	for t.ctx.Err() == nil {
		if !s.calls.begin() {
			return
		}
		var barrier raft.Future
		err := s.await(t.ctx, func() raft.Future {
			barrier = s.raft.Barrier(barrierTimeout)
			return barrier
		})
		if err == nil {
			if at, ok := barrier.(raft.IndexFuture); ok { // it is
				s.applied.reach(at.Index())
			}
			close(t.ready)
			return
		}
		if t.ctx.Err() == nil && !errors.Is(err, raft.ErrLeadershipLost) && !isNotLeader(err) {
			s.log.Warn().Err(err).Msg("barrier at the beginning of a term failed")
		}
		pause(t.ctx, retryFirst)
	}
}

// Lead calls fn every time this node wins leadership, after everything of earlier
// terms has been applied here. fn's context is cancelled when leadership is lost;
// the next term's fn begins only after this one returned. An error of fn is logged
// and fn is called again while the term lasts. Lead returns when ctx ends.
func (s *Store) Lead(ctx context.Context, fn func(ctx context.Context, term uint64) error) error {
	for ctx.Err() == nil {
		changed := s.term.changed.changed()
		t := s.term.now()
		if t.ctx == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			case <-s.stop:
				return nil
			}
		}
		s.serveTerm(ctx, t, fn)
	}
	return nil
}

func (s *Store) serveTerm(ctx context.Context, t term, fn func(context.Context, uint64) error) {
	tctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	select {
	case <-t.ready:
	case <-tctx.Done():
		return
	}
	if err := fn(tctx, t.number); err != nil && tctx.Err() == nil {
		s.log.Error().Err(err).Uint64(logs.Term, t.number).Msg("the central node's work ended early")
		pause(tctx, time.Second)
	}
}

// pause waits, or less if ctx ends. It reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
