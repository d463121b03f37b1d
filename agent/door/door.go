package door

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/door/tunnel"
	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Times of the servers that are no matter of taste.
const (
	headTimeout  = 5 * time.Second  // for a request's head, from its first byte
	keepAlive    = 75 * time.Second // of an idle connection of a user
	sweepEvery   = time.Second
	dialTimeout  = 5 * time.Second // to an engine
	peerDial     = 5 * time.Second // to another agent, with the handshake; see vigil for one that hangs
	closeTimeout = 10 * time.Second
	peerDials    = 16 // handshakes with one agent at a time
)

// Door is the front door of an agent. Open makes it, Run serves, Shutdown stops it
// gently, Close at once.
type Door struct {
	cfg     Config           // Now is steady, see clock.go
	wall    func() time.Time // the machine's clock
	log     zerolog.Logger
	owner   *owner
	sealer  *sealer
	peers   *peerPools
	chooser *chooser
	asker   asker // zero is ready
	moves   *moves
	vigil   vigil // zero is ready
	metrics *metrics
	census  census // zero is ready
	streams census // of requests over HTTP/2 beyond the first one of each connection
	damper  logs.Damper
	ids     requestIDs
	draws   atomic.Uint64 // requests that asked for a line in the access log
	servers servers
	private []string // cfg.Private, folded, for the short way

	page    *template.Template // of the status
	buffers upstream.Buffers
	copies  sync.Pool
	gate    gate    // requests under way, tunnels included
	sockets sockets // tunnels of this door
	tunnels *tunnel.Lot
	life    lifetime
}

// lifetime ends with Close.
type lifetime struct {
	ctx     context.Context
	end     context.CancelFunc
	serving atomic.Bool    // for the status page
	asks    sync.WaitGroup // questions to other owners under way
	spawns  sync.Mutex     // orders spawn and Close
	closing bool           // nothing is spawned any more
}

// Open checks the configuration and returns a door that does not serve yet. On an
// error the listeners stay the caller's.
func Open(cfg Config) (*Door, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	wall := cfg.Now
	cfg.Now = steady(wall)
	if cfg.Rand == nil {
		cfg.Rand = crand.Reader
	}
	rng, err := newRand(cfg.Rand)
	if err != nil {
		return nil, err
	}
	d := &Door{cfg: cfg, wall: wall, log: cfg.Log, moves: newMoves(), tunnels: tunnel.Open(cfg.Now)}
	for _, prefix := range cfg.Private {
		d.private = append(d.private, strings.ToLower(strings.TrimSuffix(prefix, "/")))
	}
	if d.page, err = template.New("status").Parse(statusHTML); err != nil {
		return nil, fmt.Errorf("parse status page: %w", err)
	}
	if err := d.ids.begin(cfg.Rand); err != nil {
		return nil, err
	}
	d.copies.New = func() any { b := make([]byte, copySize); return &b }
	d.life.ctx, d.life.end = context.WithCancel(context.Background())
	d.life.serving.Store(true)
	d.sealer = &sealer{keys: cfg.Keys, random: cfg.Rand}
	d.chooser = newChooser(rng)
	d.owner = &owner{
		engines: map[string]*ownedEngine{}, table: newTable(), admit: cfg.Admit,
		state: d.ownState, settings: cfg.Settings, now: cfg.Now,
	}
	client, err := upstream.NewMetrics(cfg.Registerer)
	if err != nil {
		return nil, err
	}
	d.addEngines(client)
	d.peers = newPeerPools(d.dialPeer, upstream.Config{
		DialTimeout: peerDial, Buffers: &d.buffers, Metrics: client, Now: cfg.Now, AnyByte: true, MaxDials: peerDials,
	})
	if d.metrics, err = newMetrics(cfg.Registerer, d); err != nil {
		return nil, err
	}
	d.makeServers()
	return d, nil
}

func newRand(r io.Reader) (*rand.Rand, error) {
	var seed [16]byte
	if _, err := io.ReadFull(r, seed[:]); err != nil {
		return nil, fmt.Errorf("draw seed: %w", err)
	}
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(seed[:8]), binary.BigEndian.Uint64(seed[8:]))), nil
}

func (d *Door) addEngines(m *upstream.Metrics) {
	for _, e := range d.cfg.Local {
		d.owner.engines[e.Name()] = &ownedEngine{
			Engine: e, id: peer.MakeEngineID(d.cfg.Self, e.Name()),
			pool: upstream.NewPool(upstream.Config{
				Dial: e.Dial, DialTimeout: dialTimeout, Buffers: &d.buffers, Metrics: m, Now: d.cfg.Now,
			}),
			reserved: map[SessionID]int64{}, held: map[string]*held{},
		}
	}
}

// Run serves until ctx is done or a listener fails. It closes the door.
func (d *Door) Run(ctx context.Context) error {
	failed := make(chan error, 4)
	run := func(name string, s *serve.Server, l listener) {
		err := s.Serve(l)
		if !errors.Is(err, serve.ErrClosed) {
			failed <- fmt.Errorf("serve %s: %w", name, err)
		}
	}
	var running sync.WaitGroup
	users := listener{Listener: d.cfg.Users}
	if s := d.servers.secure; s != nil {
		users.tls = tlsConfig(d.cfg.TLS)
		running.Go(func() {
			if err := s.serve(); err != nil {
				failed <- fmt.Errorf("serve HTTP/2: %w", err)
			}
		})
	}
	if s := d.servers.redirect; s != nil {
		running.Go(func() { run("users without TLS", s, listener{Listener: d.cfg.Redirect}) })
	}
	running.Go(func() { run("users", d.servers.users, users) })
	running.Go(func() {
		run("agents", d.servers.agents, listener{Listener: d.cfg.Peers.Listener, remote: d.cfg.Peers.Remote})
	})
	running.Go(d.sweepLoop)
	running.Go(d.watchLoop)
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	case <-d.life.ctx.Done():
	}
	d.Close()
	running.Wait()
	return err
}

// SetServing says whether the status page calls this door healthy, so that load
// balancers stop sending users. It changes nothing else.
func (d *Door) SetServing(on bool) { d.life.serving.Store(on) }

// Shutdown stops the door gently: the status page says 503 at once, the listeners
// close after Settings.ShutdownDelay, WebSockets are told to go away, and requests
// under way are finished. Users come first, then the sessions that other doors
// bring. When ctx ends, what is left is cut and its error is returned.
func (d *Door) Shutdown(ctx context.Context) error {
	d.SetServing(false)
	defer d.Close()
	d.servers.users.LastAnswers() // who keeps a connection takes another door with the next one
	if delay := d.settings().ShutdownDelay; delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("wait for load balancers: %w", ctx.Err())
		}
	}
	d.sockets.stop()
	if err := d.shutdownUsers(ctx); err != nil {
		return fmt.Errorf("finish the requests of users: %w", err)
	}
	if err := d.servers.agents.Shutdown(ctx); err != nil {
		return fmt.Errorf("finish the requests of other doors: %w", err)
	}
	if err := d.gate.wait(ctx); err != nil {
		return fmt.Errorf("close the tunnels: %w", err)
	}
	return nil
}

// Close cuts everything and waits for it. It may be called more than once, and
// before Run.
func (d *Door) Close() {
	d.SetServing(false)
	d.life.end()
	all := []*serve.Server{d.servers.users, d.servers.agents}
	_ = d.cfg.Users.Close() // listeners may be closed already
	if s := d.servers.secure; s != nil {
		_ = s.server.Close()
		_ = s.Close()
	}
	if s := d.servers.redirect; s != nil {
		_ = d.cfg.Redirect.Close()
		all = append(all, s)
	}
	for _, s := range all {
		s.Close()
	}
	_ = d.cfg.Peers.Listener.Close()
	d.peers.closeAll()
	for _, e := range d.owner.engines {
		_ = e.pool.CloseAll() // returns nothing but nil
	}
	d.tunnels.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := d.gate.wait(ctx); err != nil {
		d.log.Error().Int("requests", d.gate.inside()).Msg("requests outlive the door")
	}
	d.life.spawns.Lock()
	d.life.closing = true
	d.life.spawns.Unlock()
	d.life.asks.Wait()
	for _, s := range all {
		s.Wait()
	}
}

// spawn runs f beside the caller, for Close to wait for; not when that has begun.
func (d *Door) spawn(f func()) {
	d.life.spawns.Lock()
	defer d.life.spawns.Unlock()
	if !d.life.closing {
		d.life.asks.Go(f)
	}
}

// settings are never nil.
func (d *Door) settings() *Settings { return d.cfg.Settings() }

// ownState is the operator's wish for this node; while the directory is not there,
// the node opens nothing.
func (d *Door) ownState() peer.State {
	dir := d.cfg.Directory()
	if dir == nil {
		return peer.StateStandby
	}
	return dir.Nodes[d.cfg.Self].State
}

// nodeName is the name of a node, or its ID while the name is not known.
func (d *Door) nodeName(id peer.ID) string {
	if dir := d.cfg.Directory(); dir != nil {
		if n := dir.Nodes[id].Name; n != "" {
			return n
		}
	}
	return string(id)
}

// sweepLoop ends old sessions and lets go of lost nodes.
func (d *Door) sweepLoop() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-d.life.ctx.Done():
			return
		case <-tick.C:
			d.sweep()
		}
	}
}

func (d *Door) sweep() {
	now := d.cfg.Now()
	s := d.settings().Session
	closeSockets(d.owner.table.sweep(now.UnixNano(), s.IdleTimeout, s.MaxLife), closeServiceRestart)
	closeSockets(d.owner.forget(), closeServiceRestart)
	d.moves.sweep(now)
	d.chooser.sweep(now)
	dir := d.cfg.Directory()
	if dir == nil {
		return
	}
	gone := func(id peer.ID) bool {
		n, known := dir.Nodes[id]
		return id != d.cfg.Self && (!known || lostNode(n.Status))
	}
	// An answer from a node that gossip has given up will not come: end the wait,
	// so that the request moves.
	d.peers.drop(gone)
	closeSockets(d.sockets.of(gone), closeServiceRestart)
	d.warm(dir)
}

// warm keeps a connection to every living agent. Without one, the first questions
// of a burst would wait for a TLS handshake, miss their deadline, and leave the
// sessions to whichever engine is beside this door.
func (d *Door) warm(dir *Directory) {
	for id, n := range dir.Nodes {
		if s, _ := d.vigil.of(id); s != present {
			continue // it is being asked all the time
		}
		if id != d.cfg.Self && n.Status == peer.StatusAlive && d.peers.to(id).Idle() == 0 {
			d.letAsk(id, &question{answered: make(chan []placement.Answer, 1)})
		}
	}
}
