package sessions

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/load"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/world"
)

const (
	nodes       = 3
	socketShare = 5
	startWithin = 3 * time.Minute
	calm        = 5 * time.Second  // from the begin of all sessions to the loss
	after       = 15 * time.Second // that is looked at
	stopWithin  = time.Minute
	healWithin  = time.Minute
)

// cluster is a world with sessions at its doors.
type cluster struct {
	m    *measurement
	w    *world.World
	load *load.Load
	rec  *history.Recorder
	path string // of the history
	loss history.Loss
}

// once makes a cluster, lets one thing happen to it, and looks at what the users saw.
func (m *measurement) once(ctx context.Context, what string) (err error) {
	dir, err := m.Place(what)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.progress, "%s: %d sessions on %d nodes\n", what, m.sessions, nodes)
	c := &cluster{m: m, path: filepath.Join(dir, "history.jsonl")}
	if c.w, err = world.Open(ctx, world.Config{Binary: m.Binary, Nodes: nodes}); err != nil {
		return fmt.Errorf("make the world: %w", err)
	}
	defer func() {
		if keep := err != nil || m.Keep || m.wrong(what); keep {
			err = errors.Join(err, c.w.KeepLogs(dir))
			fmt.Fprintln(m.progress, "  logs and history: "+dir)
		} else {
			err = errors.Join(err, os.RemoveAll(dir))
		}
		err = errors.Join(err, c.w.Close())
	}()
	if err := c.begin(ctx); err != nil {
		return err
	}
	if what == noQuorum {
		err = c.withoutQuorum(ctx)
	} else {
		err = c.lose(ctx, what)
	}
	return errors.Join(err, c.end(ctx))
}

// begin opens all sessions.
func (c *cluster) begin(ctx context.Context) (err error) {
	if c.rec, err = history.Open(c.path, time.Now()); err != nil {
		return err
	}
	cfg := load.Config{
		Seed: c.m.Seed, Rec: c.rec, Sessions: c.m.sessions, SocketShare: socketShare, Document: world.Document,
		Pace: load.Pace{Session: c.m.every, Message: c.m.every},
	}
	for _, n := range c.w.Nodes {
		cfg.Nodes = append(cfg.Nodes, load.Node{Name: n.Name, API: "unix:" + n.Socket, Door: n.Door})
	}
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	if c.load, err = load.Start(ctx, cfg); err != nil {
		return errors.Join(err, c.rec.Close())
	}
	return nil
}

// end stops the users, if that was not done, and closes the history.
func (c *cluster) end(ctx context.Context) error {
	if c.load == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	err := c.load.Stop(ctx)
	c.load = nil
	return errors.Join(err, c.rec.Close())
}

// ops are all operations, after the end of the users.
func (c *cluster) ops(ctx context.Context) ([]history.Op, error) {
	if err := c.end(ctx); err != nil {
		return nil, err
	}
	ops, _, err := history.ReadFile(c.path)
	return ops, err
}

// fault makes one of a node, whose time is noted.
func (c *cluster) fault(what string, victim *world.Node) (fault.Fault, error) {
	e := fault.Env{
		World: c.w, Use: plan.Use{Role: plan.Leader, Pick: c.m.Seed, Length: after}, Victim: victim, Rand: rand.New(rand.NewPCG(c.m.Seed, 0)),
		Lost: func(n *world.Node, kind history.LossKind) {
			c.loss = history.Loss{Node: n.Name, Kind: kind, At: c.rec.Now()}
			c.load.Lost(n.Name, c.loss.At)
		},
		Back: func(*world.Node) {},
	}
	switch what {
	case killed:
		e.Use.Fault = "kill"
	case stopped:
		e.Use.Fault = "pause"
	default:
		return fault.Silence(e), nil
	}
	return fault.Open(e)
}

// lose takes away a node that does not lead: what users notice is the doors' work then, not an
// election's. It stays away until all is known.
func (c *cluster) lose(ctx context.Context, what string) error {
	leader, err := c.w.Leader(ctx)
	if err != nil {
		return err
	}
	f, err := c.fault(what, c.w.Others(leader)[0])
	if err != nil {
		return err
	}
	if err := bench.Sleep(ctx, calm); err != nil {
		return err
	}
	if err := f.Healthy(ctx); err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healWithin)
		defer cancel()
		if err := f.Heal(ctx); err != nil {
			fmt.Fprintln(c.m.progress, "  not healed: "+err.Error()) // the world ends now anyway
		}
	}()
	if err := f.Inject(ctx); err != nil {
		return err
	}
	if err := f.Bites(ctx); err != nil {
		return fmt.Errorf("it does not bite: %w", err)
	}
	if err := bench.Sleep(ctx, after); err != nil {
		return err
	}
	ops, err := c.ops(ctx)
	if err != nil {
		return err
	}
	r := moved{what, history.MovedBy(ops, c.loss, history.Limits{})}
	c.m.moved = append(c.m.moved, r)
	fmt.Fprintf(c.m.progress, "  %d of %d sessions of %s moved, the last after %s; failed on the wire to it %d, at its door %d, others %d; touched %d\n",
		r.Moved.Moved, r.Owned, c.loss.Node, bench.Percentile(r.Elsewhere, 1), r.OnWire, r.ByDoor, r.Failed, r.Touched)
	return nil
}

// kept is what a node alone has done without a quorum.
type kept struct {
	history.Kept
	lasted time.Duration
	until  time.Duration // the last answer, from the begin
}

// withoutQuorum kills the leader and another node, and lets the last one go on.
func (c *cluster) withoutQuorum(ctx context.Context) error {
	leader, err := c.w.Leader(ctx)
	if err != nil {
		return err
	}
	left := c.w.Others(leader)[0]
	if err := bench.Sleep(ctx, calm); err != nil {
		return err
	}
	for _, n := range c.w.Others(left) {
		c.load.Lost(n.Name, c.rec.Now())
		if err := n.Kill(ctx); err != nil {
			return err
		}
	}
	since, began := c.rec.Now(), time.Now()
	// The node has to notice before it can be said to go on without.
	if err := world.Until(ctx, 10*time.Second, "the node says that there is no quorum", func(ctx context.Context) error { return hasNone(ctx, left) }); err != nil {
		return err
	}
	if err := bench.Sleep(ctx, time.Until(began.Add(c.m.stretch))); err != nil {
		return err
	}
	if err := hasNone(ctx, left); err != nil {
		return err
	}
	lasted := time.Since(began)
	ops, err := c.ops(ctx)
	if err != nil {
		return err
	}
	k := history.KeptBy(ops, left.Name, since)
	c.m.kept = &kept{k, lasted, k.Last - since}
	fmt.Fprintf(c.m.progress, "  %s alone for %s: its %d sessions asked %d times, %d failed; %d sessions of the others were taken over\n",
		left.Name, lasted.Round(time.Second), c.m.kept.Sessions, c.m.kept.Asked, c.m.kept.Failed, c.m.kept.Taken)
	return nil
}

func hasNone(ctx context.Context, n *world.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := n.Client.Status(ctx, admin.Stale())
	if err == nil && s.Quorum {
		err = errQuorum
	}
	return err
}
