package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// lookEvery is how late a change is noticed of which memberlist does not tell.
const lookEvery = 200 * time.Millisecond

// How long leaving may take when the caller sets no deadline.
const (
	leaveTimeout = 5 * time.Second
	flushTimeout = time.Second
)

// fieldBoot is the log field of a peer's boot.
const fieldBoot = "boot"

// ErrClosed is returned by what is called after Close.
var ErrClosed = errors.New("membership is closed")

// Membership is this node's part in the gossip. Its methods are safe for
// concurrent use.
type Membership struct {
	cfg     Config
	log     zerolog.Logger
	list    *memberlist.Memberlist
	fabric  *fabric
	book    *book
	reports *reports
	metrics *metrics

	peers   atomic.Pointer[[]peer.Peer]
	alive   atomic.Int64  // members that are not failed or left
	look    chan struct{} // memberlist said that something changed
	changed <-chan struct{}
	subs    subscribers

	life lifetime
}

// Open takes part in the gossip: it answers others, and knows nobody yet. Run
// looks for the others. On an error nothing stays open, the listeners included.
func Open(cfg Config) (_ *Membership, err error) {
	if err := cfg.check(); err != nil {
		for _, ln := range []net.Listener{cfg.Packets, cfg.Streams} {
			if ln != nil {
				ln.Close()
			}
		}
		return nil, fmt.Errorf("open membership: %w", err)
	}
	metrics, err := newMetrics(cfg.Registerer)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open membership: %w", err), closeAll(cfg.Packets, cfg.Streams))
	}
	m := &Membership{cfg: cfg, log: cfg.Log, metrics: metrics, book: newBook(), look: make(chan struct{}, 1)}
	m.life.init()
	m.reports = newReports(cfg, func() int { return int(m.alive.Load()) }, metrics)
	m.changed, _ = m.subs.add()
	m.show([]peer.Peer{m.self()})
	m.fabric = openFabric(cfg, m.book, metrics, cfg.Log)
	d := &delegate{
		self: cfg.Self, boot: cfg.Boot, meta: encodeMeta(metaOf(cfg)), book: m.book, reports: m.reports,
		look: func() { poke(m.look) }, now: cfg.Now, log: cfg.Log,
	}
	if m.list, err = memberlist.Create(tuned(cfg, m.fabric, d)); err != nil {
		return nil, fmt.Errorf("open membership: %w", errors.Join(err, m.fabric.Shutdown(), metrics.Close()))
	}
	return m, nil
}

// self is our own entry before memberlist has been asked.
func (m *Membership) self() peer.Peer {
	told := metaOf(m.cfg)
	return peer.Peer{ID: m.cfg.Self, Boot: m.cfg.Boot, Name: printable(told.Name, maxNodeName), Addr: m.cfg.Advertise,
		Version: printable(told.Version, maxVersion), Class: m.cfg.Class, Status: peer.StatusAlive, Since: m.cfg.Now()}
}

// Run keeps Peers up to date and joins contacts that are not alive members, at
// once and every 15 s. It returns nil when ctx ends or Close is called, and can
// then be run again. Two at a time are refused.
func (m *Membership) Run(ctx context.Context) error {
	ctx, end, err := m.life.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	joins := newJoiner(m)
	joins.wg.Go(func() { joins.run(ctx) })
	defer joins.wg.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, t := range m.refresh(ctx) {
			joins.visit(ctx, t)
		}
		select {
		case <-m.look:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// refresh asks memberlist, publishes what is new and returns what it means for
// whom.
func (m *Membership) refresh(ctx context.Context) []transition {
	ctx, cancel := context.WithTimeout(ctx, streamTimeout)
	defer cancel()
	states, err := m.fabric.states(ctx)
	if err != nil {
		if ctx.Err() == nil {
			m.log.Warn().Err(err).Msg("gossip gave no answer")
		}
		return nil
	}
	last := m.Peers()
	next := merge(last, sightings(states), m.reports.load, m.cfg.Now())
	if same(last, next) {
		return nil
	}
	changes := transitions(last, next)
	for _, t := range changes {
		m.report(t)
		if t.stale() {
			m.fabric.pool.renew(t.is.ID)
		}
	}
	m.show(next)
	m.book.forget(last, next)
	m.reports.prune(next)
	m.subs.notify()
	return changes
}

// show makes peers, which are sorted and not changed any more, the current list.
func (m *Membership) show(peers []peer.Peer) {
	n := 0
	for _, p := range peers {
		if present(p) {
			n++
		}
	}
	m.alive.Store(int64(n))
	m.metrics.count(peers)
	m.peers.Store(&peers)
}

// report logs what happened to a peer.
func (m *Membership) report(t transition) {
	e, msg := m.log.Info(), "peer is alive"
	switch t.is.Status {
	case peer.StatusSuspect:
		msg = "peer is suspect"
	case peer.StatusFailed:
		e, msg = m.log.Warn(), "peer failed"
	case peer.StatusLeft:
		msg = "peer left"
	}
	e.Str(logs.Peer, string(t.is.ID)).Str(logs.NodeName, t.is.Name).Str(logs.Addr, t.is.Addr).
		Uint64(fieldBoot, t.is.Boot).Msg(msg)
}

// Peers lists every node that gossip knows or has known within 24 hours, this one
// included, sorted by ID, the highest boot of each. The list is shared: it must
// not be changed. Loads in it are up to 0.2 s older than the newest report.
func (m *Membership) Peers() []peer.Peer { return *m.peers.Load() }

// Peer looks one node up in Peers.
func (m *Membership) Peer(id peer.ID) (peer.Peer, bool) { return find(m.Peers(), id) }

// Changed receives after Peers has changed, a load included; several changes make
// one notice. It is one channel, for one listener: see Subscribe for more.
func (m *Membership) Changed() <-chan struct{} { return m.changed }

// Subscribe is Changed for a listener of its own, until cancel is called. The
// channel is never closed.
func (m *Membership) Subscribe() (changed <-chan struct{}, cancel func()) { return m.subs.add() }

// Report tells the others our newest load, as often as the budget of 20 KB/s a
// node allows: once a second in small clusters. Seq and Received are set here.
// Beyond 4 KiB documents are left out, beyond 16 engines engines. It never waits.
func (m *Membership) Report(l peer.Load) { m.reports.publish(l) }

// Leave tells the others that this node goes on purpose, so that they show it as
// left instead of failed, and closes. It takes at most until ctx's deadline, or
// 5 s, and a second more.
func (m *Membership) Leave(ctx context.Context) error {
	err := m.life.exclusive(func() error { return m.leave(ctx) })
	return errors.Join(err, m.Close())
}

func (m *Membership) leave(ctx context.Context) error {
	timeout := leaveTimeout
	if t, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(t))
	}
	if timeout <= 0 || ctx.Err() != nil {
		return fmt.Errorf("leave: %w", context.DeadlineExceeded)
	}
	if err := m.list.Leave(timeout); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	// memberlist has handed the message over; see it onto the connections.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	m.fabric.pool.flush(ctx)
	return nil
}

// Close ends Run, every connection and the listeners, without a word to others. It
// may be called more than once, and before or after Leave.
func (m *Membership) Close() error {
	return m.life.close(func() error {
		return errors.Join(m.list.Shutdown(), m.metrics.Close())
	})
}

// placeholderAddr is an address that memberlist parses and nobody dials.
func (m *Membership) placeholderAddr() string {
	return net.JoinHostPort(placeholder().String(), "1")
}
