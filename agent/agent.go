package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/certs"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/membership"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

const (
	debugLevel    = zerolog.DebugLevel
	raftDirName   = "raft"
	cacheFileName = "state.cache"
)

// Options are what surrounds an agent. The zero Options are a node of a real
// machine that logs nothing.
type Options struct {
	Network transport.Network // nil: the system's
	Now     func() time.Time  // nil: time.Now
	Log     zerolog.Logger
	Level   *logs.Level // follows the setting log.level; nil: it does not
	Ring    *logs.Ring  // that Log writes to as well, for usher debug; nil: none
	Version string
	Machine func() Machine // nil: this machine's load
	// SocketUser says who calls on the admin socket; nil asks the operating system.
	SocketUser func(net.Conn) (string, error)
	// ReloadDelay slows reloads of the built-in engine, for demonstrations and tests.
	ReloadDelay func(document string) time.Duration
	// NoDetection is consensus.Config.NoDetection, for the laboratory.
	NoDetection bool
}

// Agent is one node. New binds and checks, Run works until told to stop.
type Agent struct {
	cfg        config.Config
	opts       Options
	nw         transport.Network
	now        func() time.Time
	log        zerolog.Logger
	level      *logs.Level
	startLevel zerolog.Level
	registry   *prometheus.Registry

	self      peer.ID
	node      identity.Node
	advertise string
	boot      consensus.Boot
	vault     *vault
	forward   *admin.Forwarder
	started   time.Time

	creds       *transport.Credentials
	port        *transport.Port
	stores      *consensus.Stores
	fsm         *fsm.FSM
	store       *consensus.Store // from the beginning of Run on
	live        atomic.Pointer[consensus.Store]
	cached      fsm.View
	archive     *archive
	gossip      atomic.Pointer[membership.Membership]
	fronted     *fronted
	engines     []*engine.Engine
	door        *door.Door
	users       net.Listener
	redirect    net.Listener // nil: off
	certs       *certs.Store // of the door; nil: in cleartext
	api         net.Listener // nil: off
	socket      net.Listener // nil: off
	adminServer *admin.Server

	directory     atomic.Pointer[door.Directory]
	settings      atomic.Pointer[door.Settings]
	keys          atomic.Pointer[[]door.Key]
	refreshed     refreshed // keepDirectory's own
	lastLoad      atomic.Pointer[peer.Load]
	healthChanged chan struct{}
	unreached     sync.Map // peer.ID -> time.Time of the last dial that failed
	notices       notices

	down     stack
	fatal    chan error
	ready    chan struct{}
	stopping chan struct{} // closed when Run begins to stop
	isReady  sync.Once
}

// Addrs are where the agent is reached.
type Addrs struct {
	Cluster   string // bound
	Advertise string // as others dial it
	Door      string
	API       string // "" is off
	Socket    string // "" is off
}

// New opens what the node owns and binds its listeners. It starts nothing, and on
// an error leaves nothing behind.
func New(cfg config.Config, o Options) (*Agent, error) {
	a := &Agent{
		cfg: cfg, opts: o, nw: o.Network, now: o.Now, log: o.Log, level: o.Level,
		registry: prometheus.NewRegistry(), healthChanged: make(chan struct{}, 1),
		fatal: make(chan error, 1), ready: make(chan struct{}), stopping: make(chan struct{}), cached: fsm.New(fsm.Options{}).View(),
	}
	a.defaults()
	for _, open := range []func(context.Context) error{
		a.openIdentity, a.openState, a.openPort, a.openListeners, a.openBeside,
	} {
		if err := open(context.Background()); err != nil {
			return nil, errors.Join(err, a.down.unwind(nil))
		}
	}
	return a, nil
}

func (a *Agent) defaults() {
	if a.nw == nil {
		a.nw = transport.System{}
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.opts.Machine == nil {
		a.opts.Machine = systemLoad
	}
	if a.level != nil {
		a.startLevel = a.level.Get()
	}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// openIdentity takes the data directory and reads who we are.
func (a *Agent) openIdentity(context.Context) error {
	dir, err := identity.OpenDir(a.cfg.DataDir)
	if err != nil {
		return permanent(err)
	}
	lock, err := dir.Lock()
	if err != nil {
		return permanent(err)
	}
	a.down.push("data directory", lock.Close)
	if a.node, err = dir.Load(); err != nil {
		if errors.Is(err, identity.ErrNoIdentity) {
			err = fmt.Errorf("%w in %s: make a cluster with usher init, or join one with usher agent --join ADDRESS", err, a.cfg.DataDir)
		}
		return permanent(err)
	}
	a.self = a.node.Identity.ID
	a.vault = newVault(a.self, a.node.SealKey)
	a.log = a.log.With().Str(logs.Node, a.self.Short()).Logger()
	return nil
}

// openState opens the stores, the cached state and counts this start.
func (a *Agent) openState(context.Context) error {
	log := logs.For(a.log, "raft")
	stores, err := openStores(a.cfg.DataDir, log)
	if err != nil {
		return err
	}
	a.stores = stores
	a.down.push("raft stores", func() error { return a.stores.Close() })
	if v, ok := consensus.CachedView(a.cachePath(), log); ok {
		a.cached = v
	}
	if a.boot, err = stores.LastBoot(); err != nil {
		return err
	}
	a.archive, err = openArchive(a.cfg.DataDir)
	return err
}

// nextBoot counts this start. It is recorded before anybody is told of it.
func (a *Agent) nextBoot() error {
	next := consensus.Boot{Number: a.boot.Number + 1, Nonce: make([]byte, 16)}
	if _, err := rand.Read(next.Nonce); err != nil {
		return err
	}
	if err := a.stores.SetBoot(next); err != nil {
		return err
	}
	a.boot = next
	return nil
}

func (a *Agent) cachePath() string { return filepath.Join(a.cfg.DataDir, cacheFileName) }

func (a *Agent) openPort(ctx context.Context) error {
	a.creds = transport.NewCredentials(a.removed, a.now)
	if err := a.creds.Set(a.node.TLSCertificate(), a.node.Roots); err != nil {
		return permanent(err)
	}
	port, err := transport.Open(ctx, transport.Config{
		Network: a.nw, Addr: a.cfg.Cluster.Bind, Credentials: a.creds, Log: logs.For(a.log, "port"), Registerer: a.registry,
	})
	if err != nil {
		return permanent(busyPort("cluster port", a.cfg.Cluster.Bind, "--bind", err))
	}
	a.port = port
	a.down.push("cluster port", port.Close)
	if a.advertise, err = advertiseOf(a.cfg, port.Addr().String()); err != nil {
		return permanent(err)
	}
	a.forward = admin.NewForwarder(a.dialAPI, a.view)
	a.down.push("calls to other nodes", func() error { a.forward.Close(); return nil })
	return nil
}

// listenFunc opens one listener, unless addr is empty, and sees to its closing.
type listenFunc func(what, network, addr, flag string, to *net.Listener) error

func (a *Agent) openListeners(ctx context.Context) error {
	var listen listenFunc = func(what, network, addr, flag string, to *net.Listener) error {
		if addr == "" {
			return nil
		}
		ln, err := a.nw.Listen(ctx, network, addr)
		if err != nil {
			return permanent(busyPort(what, addr, flag, err))
		}
		*to = ln
		a.down.push(what, func() error {
			if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		return nil
	}
	if err := a.openCertificates(); err != nil {
		return err
	}
	if err := listen("door", "tcp", a.cfg.Door.Listen, "--door", &a.users); err != nil {
		return err
	}
	if err := listen("redirect to the door", "tcp", a.cfg.Door.Redirect, "--door-redirect", &a.redirect); err != nil {
		return err
	}
	if err := listen("admin API", "tcp", a.cfg.API.Listen, "--api", &a.api); err != nil {
		return err
	}
	return a.openSocket(ctx, listen)
}

// openBeside makes what stands beside this node: its engines.
func (a *Agent) openBeside(ctx context.Context) error {
	f, err := a.openEngines(ctx)
	if err != nil {
		return err
	}
	a.fronted, a.engines = f, f.engines
	a.down.push("engines", f.Close)
	return a.openAPI()
}

// view is the state as this node has it: live once Raft runs, cached before.
func (a *Agent) view() fsm.View {
	if s := a.live.Load(); s != nil {
		return s.View()
	}
	return a.cached
}

// nodeName is this node's name in the node table.
func (a *Agent) nodeName() string {
	if n := a.view().Node(a.self); n != nil {
		return n.Name
	}
	return a.self.Short()
}

// ID is the node's ID.
func (a *Agent) ID() peer.ID { return a.self }

// Addrs are the addresses that New bound.
func (a *Agent) Addrs() Addrs {
	out := Addrs{Cluster: a.port.Addr().String(), Advertise: a.advertise}
	for _, l := range []struct {
		ln net.Listener
		to *string
	}{{a.users, &out.Door}, {a.api, &out.API}, {a.socket, &out.Socket}} {
		if l.ln != nil {
			*l.to = l.ln.Addr().String()
		}
	}
	return out
}

// Ready is closed once the node has live state, knows a leader and has reported
// itself.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Stopping is closed when Run begins to stop, for whatever reason. With a disk that hangs
// it may not come to its end.
func (a *Agent) Stopping() <-chan struct{} { return a.stopping }

// Status is what Raft knows of itself; zero before Run.
func (a *Agent) Status() consensus.Status {
	if s := a.live.Load(); s != nil {
		return s.Status()
	}
	return consensus.Status{LastContact: -1}
}

// View is the state as this node has it now.
func (a *Agent) View() fsm.View { return a.view() }

// Close gives back what New opened. It is needed only when Run is not called.
func (a *Agent) Close() error { return a.down.unwind(nil) }

func (a *Agent) die(err error) {
	select {
	case a.fatal <- err:
	default:
	}
}
