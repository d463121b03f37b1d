package consensus

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// bulletin wakes everybody who waits for a change: take the channel first, then look.
type bulletin struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *bulletin) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bulletin) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// watchLeader rings when this node hears of another leader, or of none.
func (s *Store) watchLeader() {
	seen := make(chan raft.Observation, 16) // what does not fit needs no second ring
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	s.raft.RegisterObserver(o)
	defer s.raft.DeregisterObserver(o)
	for {
		select {
		case <-seen:
			s.leads.ring()
		case <-s.stop:
			return
		}
	}
}

// pauseFor waits until changed fires, or d is over, or ctx ends. It reports whether
// ctx still lives.
func pauseFor(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-changed:
		return ctx.Err() == nil
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
