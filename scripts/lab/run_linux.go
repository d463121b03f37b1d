package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/load"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// Bounds of a run's parts.
const (
	startWithin = 2 * time.Minute
	writeWithin = 30 * time.Second // from the healing to an acknowledged write
	wholeWithin = 90 * time.Second // and to a cluster that has everything
	healWithin  = 3 * time.Minute
	stopWithin  = 2 * time.Minute
	finalWithin = time.Minute
)

// runner is one run of the laboratory: one cluster's life.
type runner struct {
	plan     plan.Run
	size     plan.Size
	binary   string
	dir      string // for the history, and what is kept
	progress io.Writer

	w      *world.World
	rec    *history.Recorder
	load   *load.Load
	result result

	mu     sync.Mutex
	losses []history.Loss
	open   map[string]int // of losses, by node
}

// do takes a cluster through the plan and judges it. An error is of the laboratory or of
// usher: either way the run has failed.
func (r *runner) do(ctx context.Context) (err error) {
	r.open = map[string]int{}
	if r.w, err = world.Open(ctx, world.Config{Binary: r.binary, Nodes: r.plan.Nodes, Disks: r.plan.Disks}); err != nil {
		return fmt.Errorf("make the world: %w", err)
	}
	defer func() {
		if err != nil || len(r.result.Failed) > 0 {
			err = errors.Join(err, r.w.KeepLogs(r.dir))
		}
		err = errors.Join(err, r.w.Close())
	}()
	before, err := r.w.Resources(ctx)
	if err != nil {
		return err
	}
	if r.rec, err = history.Open(filepath.Join(r.dir, "history.jsonl"), time.Now()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.rec.Close()) }()
	if err := r.start(ctx); err != nil {
		return err
	}
	for i, s := range r.plan.Steps {
		if err := r.step(ctx, s); err != nil {
			stop, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			r.deaths()
			return errors.Join(fmt.Errorf("step %d, %s: %w", i+1, words(s), err), r.load.Stop(stop))
		}
	}
	return r.finish(ctx, before)
}

func (r *runner) start(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	cfg := load.Config{
		Seed: r.plan.Seed, Rec: r.rec, Writers: 6, Comparers: 6, Readers: 12, Tasks: 3, Sessions: r.size.Sessions,
		SocketShare: 5, Pace: pace(r.size.Sessions), Document: world.Document, DialEngine: r.dialEngine,
	}
	for _, n := range r.w.Nodes {
		cfg.Nodes = append(cfg.Nodes, load.Node{Name: n.Name, API: "unix:" + n.Socket, Door: n.Door})
	}
	r.load, err = load.Start(ctx, cfg)
	return err
}

// pace lets many sessions ask less often each, so that all together do not take the machine's
// processors for themselves.
func pace(sessions int) load.Pace {
	return load.Pace{Session: max(2*time.Second, time.Duration(sessions)*4*time.Millisecond), Message: max(time.Second, time.Duration(sessions)*2*time.Millisecond)}
}

func (r *runner) dialEngine(ctx context.Context, node, address string) (net.Conn, error) {
	return r.w.Find(node).Dial(ctx, address)
}

// step is one or two faults, and the way back.
func (r *runner) step(ctx context.Context, s plan.Step) (err error) {
	if err := r.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	var faults []fault.Fault
	var victims []*world.Node
	for _, u := range s.Uses {
		f, victim, err := r.prepare(ctx, u, victims)
		if err != nil {
			return fmt.Errorf("%s: %w", u.Fault, err)
		}
		if err := f.Healthy(ctx); err != nil {
			if errors.Is(err, fault.ErrSkipped) || errors.Is(err, world.ErrNoQuota) {
				r.skip(u.Fault, err)
				return nil
			}
			return fmt.Errorf("before %s: %w", u.Fault, err)
		}
		faults, victims = append(faults, f), append(victims, victim)
	}
	began := time.Now()
	injected := r.inject(ctx, s, faults)
	healed := r.heal(ctx, s, faults)
	if err := errors.Join(injected, healed); err != nil {
		return err
	}
	return r.recover(ctx, s, began)
}

// prepare finds the victim, which is not one of those of the step's other faults.
func (r *runner) prepare(ctx context.Context, u plan.Use, taken []*world.Node) (fault.Fault, *world.Node, error) {
	rng := rand.New(rand.NewPCG(r.plan.Seed, u.Pick))
	e := fault.Env{World: r.w, Use: u, Taken: taken, Rand: rng, Lost: r.lost, Back: r.back}
	if u.Role != plan.All {
		leader, err := r.w.Leader(ctx)
		if err != nil {
			return nil, nil, err
		}
		e.Victim = leader
		if u.Role == plan.Follower || contains(taken, leader) {
			others := r.w.Others(append(taken, leader)...)
			e.Victim = others[rng.IntN(len(others))]
		}
	}
	f, err := fault.Open(e)
	return f, e.Victim, err
}

func contains(nodes []*world.Node, n *world.Node) bool {
	for _, o := range nodes {
		if o == n {
			return true
		}
	}
	return false
}

// inject brings the faults about, each at its time, and lets them last.
func (r *runner) inject(ctx context.Context, s plan.Step, faults []fault.Fault) error {
	began := time.Now()
	until := began
	for i, f := range faults {
		u := s.Uses[i]
		if err := wait(ctx, time.Until(began.Add(u.After))); err != nil {
			return err
		}
		at := time.Now()
		fmt.Fprintf(r.progress, "  %s: %s\n", r.rec.Now().Round(100*time.Millisecond), u)
		if err := f.Inject(ctx); err != nil {
			return fmt.Errorf("%s: %w", u.Fault, err)
		}
		if err := f.Bites(ctx); err != nil {
			return fmt.Errorf("%s does not bite: %w", u.Fault, err)
		}
		r.result.count(u.Fault)
		if end := at.Add(u.Length); end.After(until) {
			until = end
		}
	}
	return wait(ctx, time.Until(until))
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heal takes the faults away, also when the run is being interrupted: what they began
// is theirs to end.
func (r *runner) heal(ctx context.Context, s plan.Step, faults []fault.Fault) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healWithin)
	defer cancel()
	var err error
	for i := len(faults) - 1; i >= 0; i-- {
		if e := faults[i].Heal(ctx); e != nil {
			err = errors.Join(err, fmt.Errorf("heal %s: %w", s.Uses[i].Fault, e))
		}
	}
	return err
}

// recover waits until everything is there again, and notes how long that took.
func (r *runner) recover(ctx context.Context, s plan.Step, began time.Time) error {
	healed := time.Now()
	written, err := r.w.Written(ctx, writeWithin, r.w.Nodes)
	if err != nil {
		return fmt.Errorf("after the healing: %w", err)
	}
	if err := r.w.Whole(ctx, wholeWithin); err != nil {
		return fmt.Errorf("after the healing: %w", err)
	}
	r.backAll()
	r.result.Steps = append(r.result.Steps, stepResult{What: words(s), Took: healed.Sub(began), Written: written, Whole: time.Since(healed)})
	return wait(ctx, s.Rest)
}

func words(s plan.Step) string {
	text := s.Uses[0].String()
	for _, u := range s.Uses[1:] {
		text += " with " + u.String()
	}
	return text
}

func (r *runner) skip(name string, why error) {
	line := fmt.Sprintf("%s: %v", name, why)
	for _, s := range r.result.Skipped {
		if s == line {
			return
		}
	}
	fmt.Fprintln(r.progress, "  SKIPPED: "+line)
	r.result.Skipped = append(r.result.Skipped, line)
}

// lost notes the loss of a node; one that is lost already stays so.
func (r *runner) lost(n *world.Node, kind history.LossKind) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.rec.Now()
	r.load.Lost(n.Name, at)
	if i, is := r.open[n.Name]; is {
		if r.losses[i].Kind == kind {
			return
		}
		r.losses[i].Kind = history.LossUnknown // two sorts at a time
		return
	}
	r.open[n.Name] = len(r.losses)
	r.losses = append(r.losses, history.Loss{Node: n.Name, Kind: kind, At: at})
}

func (r *runner) back(n *world.Node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, is := r.open[n.Name]
	if !is {
		return
	}
	delete(r.open, n.Name)
	r.losses[i].Back = r.rec.Now()
	r.load.Back(n.Name, r.losses[i].Back)
}

func (r *runner) backAll() {
	for _, n := range r.w.Nodes {
		r.back(n)
	}
}
