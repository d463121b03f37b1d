package agent

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/doctor/probe"
	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/membership"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/scheduler"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// ErrRemoved means that the cluster removed this node for good.
var ErrRemoved = permanent(errors.New("this node was removed from the cluster"))

// Run works until ctx ends or something fails that the node cannot live with. When
// ctx ends it stops in order: the door says 503 and lets its users finish, runs
// are given back, the central role is moved, the others are told, all is closed.
// Each step is bounded.
func (a *Agent) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, a.down.unwind(err)) }()
	a.started = a.now()
	port := newGroup(context.WithoutCancel(ctx)) // lives until the very end
	a.down.push("cluster port's connections", port.stop)
	port.Go("cluster port", a.port.Run)
	if err := a.guardRollback(ctx); err != nil {
		return err
	}
	if err := a.nextBoot(); err != nil {
		return err
	}
	if err := a.openConsensus(); err != nil {
		return err
	}
	if err := a.openGossip(); err != nil {
		return err
	}
	if err := a.openDoor(); err != nil {
		return err
	}
	sched, stopWatch, err := a.openScheduler()
	if err != nil {
		return err
	}
	defer stopWatch()
	serving := newGroup(context.WithoutCancel(ctx))
	a.down.push("services", serving.stop)
	work := newGroup(context.WithoutCancel(ctx))
	a.down.push("work", work.stop)
	a.startServices(serving)
	a.startWork(work, sched)
	a.log.Info().Str("advertise", a.advertise).Str("door", a.Addrs().Door).Str("version", a.opts.Version).Msg("agent started")
	cause, broken := a.wait(ctx, port, serving, work)
	close(a.stopping)
	a.log.Info().AnErr("cause", cause).Msg("agent stops")
	if broken {
		a.leaveAtOnce(work)
	} else {
		a.leaveInOrder(work)
	}
	return cause
}

// startServices starts what answers users, operators and other agents until the
// node stops.
func (a *Agent) startServices(g *group) {
	a.fronted.run(g)
	g.Go("archive", a.archive.run)
	g.Go("snapshots", newKeeper(a).run)
	g.Go("admin API", a.serveAdmin)
	g.Go("gossip", func(ctx context.Context) error {
		err := a.gossip.Load().Run(ctx)
		if errors.Is(err, membership.ErrClosed) {
			return nil // the agent stopped before this began
		}
		return err
	})
	g.Go("directory", a.keepDirectory)
	g.Go("door", a.door.Run)
	if a.certs != nil {
		g.Go("certificates of the door", a.certs.Run)
	}
	g.Go("load reports", a.keepLoad)
	g.Go("engine health", a.watchHealth)
	g.Go("joins", func(ctx context.Context) error {
		return identity.ServeJoins(ctx, a.port.Listen(transport.ProtoJoin), identity.Doorkeeper{Admit: a.admit, Removed: a.standingOf}, logs.For(a.log, "join"))
	})
	g.Go("standing", a.watchStanding)
	g.Go("self", a.reportSelf)
}

// startWork starts this node's tasks, and the central role's for when it is ours.
func (a *Agent) startWork(work *group, sched *scheduler.Scheduler) {
	work.Go("tasks", sched.Run)
	work.Go("central role", func(ctx context.Context) error {
		return a.store.Lead(ctx, func(ctx context.Context, term uint64) error {
			g := newGroup(ctx)
			g.Go("steward", a.steward)
			g.Go("scheduler", func(ctx context.Context) error { return sched.Lead(ctx, term) })
			<-g.ctx.Done()
			return g.stop()
		})
	})
}

// wait returns nil when ctx ended, otherwise what failed, and whether the state or the disk
// below it is broken.
func (a *Agent) wait(ctx context.Context, port, serving, work *group) (cause error, broken bool) {
	for {
		v := a.view()
		if v.Removed(a.self) {
			return ErrRemoved, false
		}
		select {
		case <-ctx.Done():
			return nil, false
		case err := <-a.fatal:
			return err, true
		case <-port.ctx.Done():
			return context.Cause(port.ctx), false
		case <-serving.ctx.Done():
			return context.Cause(serving.ctx), false
		case <-work.ctx.Done():
			return context.Cause(work.ctx), false
		case <-v.Newer():
		}
	}
}

// Bounds of stopping in order.
const (
	stopTimeout = 30 * time.Second // of the door, unless the configuration says otherwise
	leaveBound  = 2 * time.Second
)

// leaveInOrder lets users and runs finish and gives the central role away.
func (a *Agent) leaveInOrder(work *group) {
	limit := a.cfg.Stop.Timeout
	if limit <= 0 {
		limit = stopTimeout
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := a.door.Shutdown(ctx); err != nil {
		a.log.Warn().Err(err).Msg("some requests were cut")
	}
	if a.store.Status().IsLeader {
		ctx, cancel := context.WithTimeout(context.Background(), leaveBound)
		if err := a.moveCentral(ctx, ""); err != nil {
			a.log.Info().Err(err).Msg("the central role was not handed over")
		}
		cancel()
	}
	if err := work.stop(); err != nil {
		a.log.Warn().Err(err).Msg("work ended with an error")
	}
	ctx, cancel = context.WithTimeout(context.Background(), leaveBound)
	defer cancel()
	if err := a.gossip.Load().Leave(ctx); err != nil {
		a.log.Debug().Err(err).Msg("the others were not told that this node stops")
	}
}

// leaveAtOnce is for a node that cannot write any more, or must not: the others shall
// notice at once, and its users go elsewhere. What is to be closed may hang with the disk,
// for as long as that does.
func (a *Agent) leaveAtOnce(work *group) {
	if err := a.port.Close(); err != nil {
		a.log.Warn().Err(err).Msg("the cluster port was not closed")
	}
	a.door.Close()
	if err := work.stop(); err != nil {
		a.log.Warn().Err(err).Msg("work ended with an error")
	}
}

func (a *Agent) openConsensus() error {
	a.fsm = fsm.New(fsm.Options{OnEvict: a.keepEvicted, OnHalt: func(err error) { a.die(permanent(err)) }})
	s, err := consensus.Open(consensus.Config{
		Self: a.self, Stores: a.stores, FSM: a.fsm, Cache: a.cachePath(), Listener: a.port.Listen(transport.ProtoRaft),
		Dial:    a.dialRaft,
		Forward: a.forward, Election: a.cfg.Cluster.ElectionTimeout, Now: a.now, Fatal: a.die,
		Reachable: a.reachable,
		Pulse: consensus.Pulse{
			Boot: a.boot.Number, Listener: a.port.Listen(transport.ProtoPulse), Remote: remoteID,
			Dial: a.dialPulse, Refused: a.refused,
		},
		NoDetection: a.opts.NoDetection, Log: logs.For(a.log, "raft"), Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.store = s
	a.live.Store(s)
	a.down.push("consensus", func() error {
		// Raft reads its connections without a deadline: they end first.
		return errors.Join(a.port.Close(), s.Close())
	})
	return nil
}

func (a *Agent) openGossip() error {
	m, err := membership.Open(membership.Config{
		Self: a.self, Boot: a.boot.Number, Name: a.nodeName(), Version: a.opts.Version, Class: a.node.Identity.Class,
		Advertise: a.advertise, Packets: a.port.Listen(transport.ProtoGossip), Streams: a.port.Listen(transport.ProtoGossipStream),
		Dial: a.dialGossip, Contacts: a.contacts, PeerOf: remoteID, Now: a.now,
		Log: logs.For(a.log, "gossip"), Registerer: a.registry,
	})
	if err != nil {
		return fmt.Errorf("open gossip: %w", err)
	}
	a.gossip.Store(m)
	a.down.push("gossip", m.Close)
	return nil
}

// userDescriptors is how many files and connections this process may have open; 0 is any
// number, or not known.
func userDescriptors() int {
	f := probe.Files()
	if f.Err != nil || f.Limit > math.MaxInt32 {
		return 0
	}
	return int(f.Limit)
}

func (a *Agent) openDoor() error {
	a.settings.Store(door.DefaultSettings())
	a.refresh(a.view())
	local := make([]door.Engine, len(a.engines))
	for i, e := range a.engines {
		local[i] = e
	}
	d, err := door.Open(door.Config{
		Self: a.self, Users: a.users, Local: local, TLS: a.doorTLS(), Redirect: a.redirect,
		ProxyProtocol: a.cfg.Door.ProxyProtocol,
		Descriptors:   userDescriptors(),
		Peers: door.Peers{
			Listener: a.port.Listen(transport.ProtoSession),
			Remote:   func(c net.Conn) peer.ID { id, _ := remoteID(c); return id },
			Dial:     a.dialSession,
		},
		Directory: a.directory.Load, Settings: a.settings.Load,
		Keys: func() []door.Key {
			if k := a.keys.Load(); k != nil {
				return *k
			}
			return nil
		},
		Now: a.now, Log: logs.For(a.log, "door"), AccessLog: logs.For(a.log, "access"), Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.door = d
	a.down.push("door", func() error { d.Close(); return nil })
	return nil
}

// watchHealth wakes the load report when an engine's health changes.
func (a *Agent) watchHealth(ctx context.Context) error {
	g := newGroup(ctx)
	for _, e := range a.engines {
		g.Go("health of "+e.Name(), func(ctx context.Context) error {
			for {
				select {
				case <-e.Changed():
				case <-ctx.Done():
					return nil
				}
				select {
				case a.healthChanged <- struct{}{}:
				default:
				}
			}
		})
	}
	<-ctx.Done()
	return g.stop()
}
