package pulse

import (
	"slices"

	"github.com/ushercluster/usher/agent/peer"
)

// Latest is what a server said last; false when it has never spoken.
func (h *Hub) Latest(id peer.ID) (Beat, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b, ok := h.beats[id]
	return b, ok
}

// Alive reports whether the connection to a server is open now.
func (h *Hub) Alive(id peer.ID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[id] != nil
}

// AwaitUp returns a channel that is closed when the server is reached, when it is
// none any more, or when the hub ends, so whoever is woken looks again; nil when
// there is nothing to wait for, because one of these is so already. Whoever stops
// waiting calls cancel, which may be called at any time and more than once.
func (h *Hub) AwaitUp(id peer.ID) (up <-chan struct{}, cancel func()) {
	none := func() {}
	ch := make(chan struct{})
	h.mu.Lock()
	if h.links[id] != nil || h.ended {
		h.mu.Unlock()
		return nil, none
	}
	h.up[id] = append(h.up[id], ch)
	h.mu.Unlock()
	cancel = func() { h.stopWaiting(id, ch) }
	// After ch is where forget finds it, so that a removal is seen here or there.
	if !slices.Contains(h.cfg.Peers(), id) {
		cancel()
		return nil, none
	}
	return ch, cancel
}

func (h *Hub) stopWaiting(id peer.ID, ch chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := h.up[id]
	if i := slices.Index(list, ch); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if len(list) == 0 {
		delete(h.up, id)
		return
	}
	h.up[id] = list
}

// Gone tells every server that the leader of a term refuses us. It returns what it told
// of ourselves with that.
func (h *Hub) Gone(leader peer.ID, term uint64) Facts {
	f := h.frame(kindGone)
	f.argNode, f.argTerm = leader, term
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.links {
		l.send(f)
	}
	return f.Facts
}

// Stand asks a server to stand for election. Whether it did is seen by its votes.
func (h *Hub) Stand(id peer.ID, term, index uint64) error {
	f := h.frame(kindStand)
	f.argTerm, f.argIndex = term, index
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.links[id]
	if l == nil || !l.send(f) {
		return ErrDown
	}
	return nil
}
