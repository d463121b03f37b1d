package door

import (
	"context"
	"fmt"
	"maps"
	"net"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// peerPools are the connections to the doors of other agents, a pool for each.
type peerPools struct {
	cfg  upstream.Config // without Dial
	dial func(context.Context, peer.ID) (net.Conn, error)

	mu     sync.Mutex
	pools  map[peer.ID]*upstream.Pool
	closed bool
}

func newPeerPools(dial func(context.Context, peer.ID) (net.Conn, error), cfg upstream.Config) *peerPools {
	return &peerPools{cfg: cfg, dial: dial, pools: map[peer.ID]*upstream.Pool{}}
}

// to is the pool of one agent.
func (p *peerPools) to(id peer.ID) *upstream.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool, ok := p.pools[id]; ok {
		return pool
	}
	cfg := p.cfg
	cfg.Dial = func(ctx context.Context) (net.Conn, error) { return p.dial(ctx, id) }
	pool := upstream.NewPool(cfg)
	p.pools[id] = pool
	if p.closed {
		_ = pool.CloseAll() // returns nothing but nil; it fails whoever uses the pool
	}
	return pool
}

// all is a copy of the pools there are.
func (p *peerPools) all() map[peer.ID]*upstream.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.pools)
}

// drop cuts the connections to the agents for which gone says yes.
func (p *peerPools) drop(gone func(peer.ID) bool) {
	p.mu.Lock()
	var cut []*upstream.Pool
	for id, pool := range p.pools {
		if gone(id) {
			cut = append(cut, pool)
			delete(p.pools, id)
		}
	}
	p.mu.Unlock()
	for _, pool := range cut {
		_ = pool.CloseAll() // returns nothing but nil
	}
}

func (p *peerPools) closeAll() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop(func(peer.ID) bool { return true })
}

// refusalPause lies between the two refusals that mean that an agent is gone: one
// alone may be a listener that is just being opened.
const refusalPause = 10 * time.Millisecond

// dialPeer connects to another agent's door; a refused connection is tried twice.
func (d *Door) dialPeer(ctx context.Context, to peer.ID) (net.Conn, error) {
	conn, err := d.cfg.Peers.Dial(ctx, to)
	if upstream.Refused(err) {
		select {
		case <-time.After(refusalPause):
			conn, err = d.cfg.Peers.Dial(ctx, to)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dial agent %s: %w", to, err)
	}
	return conn, nil
}
