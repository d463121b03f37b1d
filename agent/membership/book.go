package membership

import (
	"errors"
	"fmt"
	"sync"

	"github.com/ushercluster/usher/agent/peer"
)

// maxNodes bounds what other nodes can make us remember.
const maxNodes = 4096

var (
	errSuperseded = errors.New("a later start of the node is known")
	errCrowded    = fmt.Errorf("more than %d nodes", maxNodes)
)

// book knows the newest boot of each node and where that is reached. memberlist
// asks it before it believes in a node, so an address is there before the first
// packet is sent to it. It is safe for concurrent use.
type book struct {
	mu      sync.Mutex
	entries map[peer.ID]entry
}

type entry struct {
	boot uint64
	addr string
}

func newBook() *book { return &book{entries: make(map[peer.ID]entry)} }

// admit notes a sighting, and refuses that of an earlier boot.
func (b *book) admit(id peer.ID, boot uint64, addr string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	known, ok := b.entries[id]
	switch {
	case ok && boot < known.boot:
		return fmt.Errorf("%w: start %d after %d", errSuperseded, known.boot, boot)
	case !ok && len(b.entries) >= maxNodes:
		return errCrowded
	}
	b.entries[id] = entry{boot, addr}
	return nil
}

// addr is where a boot of a node is reached, "" when unknown. It reports false
// for a boot that has been superseded.
func (b *book) addr(id peer.ID, boot uint64) (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := b.entries[id]
	return known.addr, boot >= known.boot
}

// forget drops the nodes that are in last and not in next, both sorted.
func (b *book) forget(last, next []peer.Peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range last {
		if _, ok := find(next, p.ID); !ok {
			delete(b.entries, p.ID)
		}
	}
}
