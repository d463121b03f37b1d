package consensus

import (
	"context"
	"errors"
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
	ctx     context.Context // of the present term; nil when we do not lead
	cancel  context.CancelFunc
	number  uint64
	changed chan struct{}
}

func (t *terms) init() { t.changed = make(chan struct{}) }

func (t *terms) set(leads bool, number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cancel != nil {
		t.cancel()
		t.ctx, t.cancel = nil, nil
	}
	if leads {
		t.ctx, t.cancel = context.WithCancel(context.Background())
		t.number = number
	}
	close(t.changed)
	t.changed = make(chan struct{})
}

func (t *terms) now() (context.Context, uint64, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ctx, t.number, t.changed
}

func (s *Store) watchLeadership(notify <-chan bool) {
	for {
		select {
		case leads := <-notify:
			term := s.raft.CurrentTerm()
			if leads {
				s.log.Info().Uint64(logs.Term, term).Msg("this node is the central node now")
			} else {
				s.log.Info().Uint64(logs.Term, term).Msg("this node is no longer the central node")
			}
			s.stats.leaderChanges.Inc()
			s.term.set(leads, term)
		case <-s.stop:
			s.term.set(false, 0)
			return
		}
	}
}

// Lead calls fn every time this node wins leadership, after everything of earlier
// terms has been applied here. fn's context is cancelled when leadership is lost;
// the next term's fn begins only after this one returned. An error of fn is logged
// and fn is called again while the term lasts. Lead returns when ctx ends.
func (s *Store) Lead(ctx context.Context, fn func(ctx context.Context, term uint64) error) error {
	for {
		term, number, changed := s.term.now()
		if term == nil {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil
			case <-s.stop:
				return nil
			}
		}
		s.serveTerm(ctx, term, number, fn)
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (s *Store) serveTerm(ctx, term context.Context, number uint64, fn func(context.Context, uint64) error) {
	tctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	if !s.calls.begin() {
		pause(tctx, retryFirst)
		return
	}
	if err := s.await(tctx, func() raft.Future { return s.raft.Barrier(barrierTimeout) }); err != nil {
		if tctx.Err() == nil && !errors.Is(err, raft.ErrLeadershipLost) && !errors.Is(err, raft.ErrNotLeader) {
			s.log.Warn().Err(err).Msg("barrier at the beginning of a term failed")
		}
		pause(tctx, retryFirst)
		return
	}
	if err := fn(tctx, number); err != nil && tctx.Err() == nil {
		s.log.Error().Err(err).Uint64(logs.Term, number).Msg("the central node's work ended early")
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
