package pulse

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// How the connections are kept.
const (
	beatEvery    = time.Second
	silence      = 3500 * time.Millisecond // without a frame a connection counts as lost
	writeTimeout = 2 * time.Second
	dialTimeout  = time.Second // shorter than TCP's second try: each of ours begins anew
	redialFirst  = 100 * time.Millisecond
	redialMost   = time.Second
	outboxLength = 256 // frames
	maxReads     = 32  // confirmations for other servers at once; they share theirs already
	readTimeout  = 5 * time.Second
)

// Config is what New needs. The functions are called from several goroutines and may
// call the hub. None must block but Dial and Read: those that hear of a frame hold up
// its connection, Up and Down hold up every connection that begins or ends. Facts is
// called for each frame, and must read Raft's term as it is then, not a copy of it: an
// answer that says less than a vote already given would make a stale read linearizable.
type Config struct {
	Self     peer.ID
	Boot     uint64
	Listener net.Listener                   // closed when Run returns
	Remote   func(net.Conn) (peer.ID, bool) // who is at the other end
	Dial     func(ctx context.Context, to peer.ID) (net.Conn, error)
	// Peers are the other servers; it is looked at again every time Changed is called.
	Peers func() []peer.ID
	Facts func() Facts
	Now   func() time.Time // wall clock; nil: time.Now

	// Read confirms a linearizable read here, at the leader, and gives the revision
	// that it has to show. It may block until ctx ends. Nil: refused.
	Read func(ctx context.Context) (revision uint64, err error)
	// Gone hears that from was refused by leader, which led term.
	Gone func(from, leader peer.ID, term uint64, at Facts)
	// Stand hears that from wants us to stand for election.
	Stand func(from peer.ID, term, index uint64)
	// Up and Down hear that a server is reached, and that it is no more; of each server
	// in turn. A connection that takes another's place says neither.
	Up   func(peer.ID)
	Down func(peer.ID)
	// Restarted hears that a server's frames are from a later start of its process.
	Restarted func(peer.ID)

	Log        zerolog.Logger
	Registerer prometheus.Registerer // nil: not registered
}

// Hub holds the connections. Safe for concurrent use.
type Hub struct {
	cfg   Config
	log   zerolog.Logger
	stats *stats
	look  chan struct{} // Peers may have changed
	reads chan struct{} // slots of confirmations for others

	preferred preference

	turn sync.Mutex // Up and Down come in the order of what they tell; taken before mu

	// No function of Config is called while mu is held.
	mu      sync.Mutex
	links   map[peer.ID]*link           // open connections
	beats   map[peer.ID]Beat            // what was heard last, also of servers that are down
	waiting map[uint64]*question        // by nonce
	up      map[peer.ID][]chan struct{} // who waits for a server
	ended   bool
}

// New makes a hub; nothing happens before Run.
func New(cfg Config) *Hub {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Hub{
		cfg: cfg, log: cfg.Log, stats: newStats(cfg.Registerer),
		look: make(chan struct{}, 1), reads: make(chan struct{}, maxReads),
		links: map[peer.ID]*link{}, beats: map[peer.ID]Beat{}, waiting: map[uint64]*question{}, up: map[peer.ID][]chan struct{}{},
	}
}

// Changed says that Peers gives another answer.
func (h *Hub) Changed() {
	select {
	case h.look <- struct{}{}:
	default:
	}
}

// Run keeps the connections until ctx ends; then it closes them, and what waits on
// the hub gets an error.
func (h *Hub) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer h.end()
	defer cancel()
	wg.Go(func() {
		<-ctx.Done()
		h.cfg.Listener.Close()
	})
	wg.Go(func() { h.dialAll(ctx, &wg) })
	for {
		c, err := h.cfg.Listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("accept pulse connection: %w", err)
		}
		id, ok := h.cfg.Remote(c)
		if !ok || !slices.Contains(h.cfg.Peers(), id) {
			c.Close()
			continue
		}
		wg.Go(func() { h.serve(ctx, &wg, id, c) })
	}
}

// end lets everybody go who waits.
func (h *Hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for nonce, q := range h.waiting {
		delete(h.waiting, nonce)
		close(q.answers)
	}
	for id, list := range h.up {
		delete(h.up, id)
		for _, ch := range list {
			close(ch)
		}
	}
}

// dialAll keeps a goroutine for each server whose ID is higher than ours.
func (h *Hub) dialAll(ctx context.Context, wg *sync.WaitGroup) {
	stops := map[peer.ID]context.CancelFunc{}
	for {
		peers := h.cfg.Peers()
		for id, stop := range stops {
			if !slices.Contains(peers, id) {
				stop()
				delete(stops, id)
			}
		}
		h.forget(peers)
		for _, id := range peers {
			if id <= h.cfg.Self || stops[id] != nil {
				continue
			}
			kctx, stop := context.WithCancel(ctx)
			stops[id] = stop
			wg.Go(func() { h.keep(kctx, wg, id) })
		}
		select {
		case <-h.look:
		case <-ctx.Done():
			for _, stop := range stops {
				stop()
			}
			return
		}
	}
}

// forget drops what is known of servers that are none any more.
func (h *Hub) forget(peers []peer.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.beats {
		if !slices.Contains(peers, id) {
			delete(h.beats, id)
		}
	}
	for id, l := range h.links {
		if !slices.Contains(peers, id) {
			l.hangUp()
		}
	}
	for id, list := range h.up {
		if !slices.Contains(peers, id) {
			delete(h.up, id)
			for _, ch := range list {
				close(ch)
			}
		}
	}
}

// keep dials a server for as long as ctx lives.
func (h *Hub) keep(ctx context.Context, wg *sync.WaitGroup, id peer.ID) {
	wait := redialFirst
	for ctx.Err() == nil {
		dctx, cancel := context.WithTimeout(ctx, dialTimeout)
		c, err := h.cfg.Dial(dctx, id)
		cancel()
		spoke := false
		if err == nil {
			spoke = h.serve(ctx, wg, id, c)
		} else {
			h.log.Debug().Err(err).Str(logs.Peer, string(id)).Msg("pulse dial failed")
		}
		if spoke {
			wait = redialFirst
		}
		// Half of it at random, so that a cluster that starts does not knock in step.
		t := time.NewTimer(wait/2 + rand.N(wait/2))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
		if !spoke { // also when it took the connection and closed it: it does not know us
			wait = min(2*wait, redialMost)
		}
	}
}
