package detection

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/world"
)

const (
	writers         = 8
	defaultElection = 500 * time.Millisecond
	settle          = 500 * time.Millisecond // from the writers' leaving a leader to its loss
	wholeWithin     = 90 * time.Second
	healWithin      = time.Minute
	finishWithin    = 2 * time.Minute
)

// clusterConfig says what a cluster is like.
type clusterConfig struct {
	how
	nodes int
	disks bool   // of their own
	named string // what makes it differ from others of the same kind
}

func (c clusterConfig) String() string {
	return fmt.Sprintf("%d-nodes-%s-detection-%s%s", c.nodes, c.Election, onOff(c.Detects), c.named)
}

// cluster is a world under writers.
type cluster struct {
	m     *measurement
	cfg   clusterConfig
	w     *world.World
	load  *bench.Writers
	began time.Time // of the last loss after which detection may be damped
	drawn uint64
}

func openCluster(ctx context.Context, m *measurement, cfg clusterConfig) (*cluster, error) {
	m.say("%d nodes, %s", cfg.nodes, cfg.how)
	w, err := world.Open(ctx, world.Config{Binary: m.Binary, Nodes: cfg.nodes, Disks: cfg.disks, Env: []string{
		"USHER_ELECTION_TIMEOUT=" + cfg.Election.String(), "USHER_LAB_DETECTION=" + onOff(cfg.Detects),
	}})
	if err != nil {
		return nil, fmt.Errorf("make the world: %w", err)
	}
	var to []bench.WriteTo
	for _, n := range w.Nodes {
		to = append(to, bench.WriteTo{API: n.Socket})
	}
	c := &cluster{m: m, cfg: cfg, w: w, load: bench.NewWriters(to)}
	c.load.Start(writers)
	return c, nil
}

func (c *cluster) close() error {
	c.load.Stop()
	return c.w.Close()
}

// env is for one fault, of a victim or, nil, of all; nobody asks who is lost.
func (c *cluster) env(name string, victim *world.Node) fault.Env {
	c.drawn++
	role := plan.Leader
	if victim == nil {
		role = plan.All
	}
	nobody := func(*world.Node, history.LossKind) {}
	return fault.Env{
		World: c.w, Use: plan.Use{Fault: name, Role: role, Pick: c.drawn, Length: time.Second}, Victim: victim,
		Rand: rand.New(rand.NewPCG(c.m.Seed, c.drawn)), Lost: nobody, Back: func(*world.Node) {},
	}
}

// heal ends a fault, also when the measurement is being interrupted.
func heal(ctx context.Context, f fault.Fault) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healWithin)
	defer cancel()
	return f.Heal(ctx)
}

// lines of all logs that tell of leaders.
func (c *cluster) lines() ([]world.Line, error) {
	var all []world.Line
	for _, n := range c.w.Nodes {
		lines, err := n.Lines(world.Leads, world.Gone)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

func (c *cluster) elections(after time.Time) (elections, error) {
	lines, err := c.lines()
	return electionsOf(lines, c.cfg.nodes, after), err
}

// finish ends the writers and looks on every node for what was acknowledged.
func (c *cluster) finish(ctx context.Context) error {
	c.load.Stop()
	if err := bench.Sleep(ctx, bench.LateWrites); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, finishWithin)
	defer cancel()
	if err := c.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	finals, err := c.finals(ctx)
	if err != nil {
		return err
	}
	writes, unknown := c.load.Writes()
	c.m.acked, c.m.unknown = c.m.acked+len(writes)-unknown, c.m.unknown+unknown
	for i, final := range finals {
		if err := bench.Lost(writes, final); err != nil {
			c.m.fail("%s: %s: %v", c.cfg, c.w.Nodes[i].Name, err)
		}
	}
	for _, n := range c.w.Nodes {
		for _, d := range n.Deaths() {
			if !d.Excused {
				c.m.fail("%s: %s ended by itself with %d: %s", c.cfg, d.Node, d.Code, d.Words)
			}
		}
	}
	return nil
}

// finals are what each node holds, all of one revision.
func (c *cluster) finals(ctx context.Context) (all [][]bench.Final, err error) {
	err = world.Until(ctx, wholeWithin, "all nodes show the same revision", func(ctx context.Context) error {
		all = nil
		var revision uint64
		for i, n := range c.w.Nodes {
			list, err := n.Settings(ctx)
			if err != nil {
				return err
			}
			if i > 0 && list.Revision != revision {
				return errors.New("they do not")
			}
			revision = list.Revision
			final, err := finalOf(list.Items)
			if err != nil {
				return err
			}
			all = append(all, final)
		}
		return nil
	})
	return all, err
}

// finalOf finds the keys of the writers among all settings.
func finalOf(rows []admin.Setting) ([]bench.Final, error) {
	final := make([]bench.Final, bench.Keys)
	for k := range final {
		i := slices.IndexFunc(rows, func(s admin.Setting) bool { return s.Key == bench.Setting(k) })
		if i < 0 {
			return nil, fmt.Errorf("%s is missing", bench.Setting(k))
		}
		seq, err := bench.SeqOf(k, rows[i].Value)
		if err != nil {
			return nil, err
		}
		final[k] = bench.Final{Seq: seq, Version: rows[i].Modified}
	}
	return final, nil
}
