package membership

import "sync"

// subscribers are told that something changed. Each has a channel that holds one
// notice, so that a slow one misses none and hears of many at once.
type subscribers struct {
	mu  sync.Mutex
	all map[chan struct{}]bool
}

// add subscribes. cancel may be called more than once; the channel is not closed.
func (s *subscribers) add() (notices <-chan struct{}, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan struct{}, 1)
	if s.all == nil {
		s.all = make(map[chan struct{}]bool)
	}
	s.all[ch] = true
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, ch)
	}
}

func (s *subscribers) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ch := range s.all {
		poke(ch)
	}
}

// poke leaves a notice, unless there is one.
func poke(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
