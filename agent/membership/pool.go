package membership

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
)

// How packets are sent.
const (
	maxTargets     = 1024             // nodes that have a queue at the same time
	queueLength    = 64               // packets that wait for one node
	idleAfter      = 60 * time.Second // an unused connection is closed
	packetDial     = 3 * time.Second
	packetWrite    = 2 * time.Second
	firstBackoff   = 500 * time.Millisecond
	longestBackoff = 8 * time.Second
	// A connection that ends sooner than this was as good as refused: with TLS 1.3
	// a dial succeeds before the other side has looked at our certificate.
	shortLife = time.Second
)

// pool sends packets, each node's through a queue and a goroutine of its own, so
// that no node waits for another. Like UDP it promises nothing.
type pool struct {
	dial    func(ctx context.Context, to peer.ID, addr string) (net.Conn, error)
	metrics *metrics
	log     zerolog.Logger

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the targets' goroutines

	mu      sync.Mutex
	targets map[where]*target
}

// where is a node and the address at which it was seen.
type where struct {
	id   peer.ID
	addr string
}

func newPool(dial func(ctx context.Context, to peer.ID, addr string) (net.Conn, error), m *metrics, log zerolog.Logger) *pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &pool{dial: dial, metrics: m, log: log, ctx: ctx, cancel: cancel, targets: make(map[where]*target)}
}

// send queues a packet, which must not change afterwards. It never waits.
func (p *pool) send(to where, packet []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return net.ErrClosed
	}
	t := p.targets[to]
	if t == nil {
		if len(p.targets) >= maxTargets {
			p.metrics.drop(droppedQueue, 1)
			return nil
		}
		t = newTarget(p, to)
		p.targets[to] = t
		p.wg.Go(t.run)
	}
	select {
	case t.queue <- item{packet: packet}:
	default:
		p.metrics.drop(droppedQueue, 1)
	}
	return nil
}

// retire removes an idle target, unless a packet has come meanwhile.
func (p *pool) retire(t *target) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(t.queue) > 0 {
		return false
	}
	delete(p.targets, t.to)
	return true
}

// renew makes the next packet to a node dial anew, at once: its old connection
// may hang in retransmissions of a network that is whole again.
func (p *pool) renew(id peer.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for to, t := range p.targets {
		if to.id != id {
			continue
		}
		select {
		case t.renew <- struct{}{}:
		default: // one is pending
		}
	}
}

// flush waits until what was queued has been written or dropped, or ctx ends.
func (p *pool) flush(ctx context.Context) {
	p.mu.Lock()
	var pending []<-chan struct{}
	for _, t := range p.targets {
		done := make(chan struct{})
		select {
		case t.queue <- item{flushed: done}:
			pending = append(pending, done)
		default: // a full queue is a hung connection; not worth waiting for
		}
	}
	p.mu.Unlock()
	for _, done := range pending {
		select {
		case <-done:
		case <-ctx.Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

// close ends every connection and waits for the goroutines.
func (p *pool) close() {
	p.mu.Lock()
	p.cancel() // under mu: no target is added afterwards
	p.mu.Unlock()
	p.wg.Wait()
}
