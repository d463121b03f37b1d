//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// How the load is, and how the losses follow each other.
const (
	losingWriters = 16
	movingWriters = 32

	settle = 500 * time.Millisecond // from the writers' leaving the leader to its loss
	// Detection of a crash is damped: not twice within 10 s.
	damped = 11 * time.Second
)

// target is a cluster with writers, ours or etcd's. Members are named by position.
type target interface {
	leader(ctx context.Context) (int, error)
	member(i int) *bench.Process
	write(ctx context.Context, workers int) error // starts the writers
	avoid(ctx context.Context, i int) error       // -1: nobody
	pause(ctx context.Context, on bool) error
	// recovered waits until a write that began after the time is acknowledged, and a
	// second more.
	recovered(ctx context.Context, after time.Time) (bench.Span, error)
	// succeeded is an error unless the members but i, which is away, know a leader other
	// than i.
	succeeded(ctx context.Context, i int) error
	move(ctx context.Context) (bench.Span, error) // from before the move to a second after it
	caughtUp(ctx context.Context, i int) error
	// finish stops the writers; the error tells of lost writes.
	finish(ctx context.Context) (tally, error)
	Close() error
}

// tally counts writes at the end.
type tally struct {
	acknowledged int
	unknown      int
	unmoved      int // planned moves that did not come about
}

// plan is all that is measured, in order.
type plan struct {
	options
	dir      string
	progress io.Writer
	results  []result
	skipped  []string
	tally    tally
}

// step is one series on one cluster.
type step struct {
	what    string
	writers int
	times   int
	once    func(ctx context.Context, t target, after time.Duration) (time.Duration, error)
}

func (p *plan) run(ctx context.Context) error {
	for _, n := range p.nodes {
		ours := []step{
			{killed, losingWriters, p.kills, kill},
			{stopped, losingWriters, fewer(p.kills, 8), stop},
			{moved, movingWriters, p.moves, move},
		}
		if err := p.on(ctx, usherName, n, damped, ours, func(dir string) (target, error) { return openUsher(ctx, p.binary, dir, n, nil) }); err != nil {
			return err
		}
		if err := p.holes(ctx, n); err != nil {
			return err
		}
		if p.etcd.Server == "" {
			continue
		}
		theirs := []step{{killed, losingWriters, fewer(p.kills, 4), kill}, {moved, movingWriters, fewer(p.moves, 4), move}}
		err := p.on(ctx, etcdName, n, time.Second, theirs, func(dir string) (target, error) { return openEtcd(ctx, p.options.etcd, dir, n) })
		switch {
		case ctx.Err() != nil:
			return err
		case err != nil: // what was measured of usher stands all the same
			p.skip(fmt.Sprintf("what etcd has not done on %d nodes: %v", n, err))
		}
	}
	if p.etcd.Server == "" {
		p.skip("etcd is not here to compare with")
	}
	return nil
}

func fewer(n, by int) int { return max(1, n/by) }

func (p *plan) skip(why string) {
	for _, s := range p.skipped {
		if s == why {
			return
		}
	}
	fmt.Fprintln(p.progress, "SKIPPED: "+why)
	p.skipped = append(p.skipped, why)
}

// holes puts the leader behind a black hole, on a cluster in network namespaces.
func (p *plan) holes(ctx context.Context, n int) (err error) {
	nets, err := bench.OpenNamespaces(ctx, n)
	if errors.Is(err, bench.ErrNoNamespaces) {
		p.skip("black holes: " + err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, nets.Close()) }()
	cut := func(ctx context.Context, t target, after time.Duration) (time.Duration, error) {
		return lose(ctx, t, after, loss{
			happen: func(i int) (time.Time, error) { err := nets.Cut(ctx, i); return time.Now(), err },
			mend:   func(i int) error { return nets.Heal(ctx, i) },
		})
	}
	return p.on(ctx, usherName, n, damped, []step{{cutOff, losingWriters, fewer(p.kills, 8), cut}},
		func(dir string) (target, error) { return openUsher(ctx, p.binary, dir, n, nets) })
}

// on takes one cluster through its steps.
func (p *plan) on(ctx context.Context, system string, n int, after time.Duration, steps []step, open func(dir string) (target, error)) (err error) {
	dir, err := os.MkdirTemp(p.dir, "cluster-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := open(dir)
	if err != nil {
		return fmt.Errorf("%s, %d nodes: %w", system, n, err)
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	for _, s := range steps {
		if err := p.series(ctx, t, s, &result{system: system, nodes: n, what: s.what}, after); err != nil {
			return fmt.Errorf("%s, %d nodes, %s: %w", system, n, s.what, err)
		}
	}
	return nil
}

// series does one thing several times, and looks for lost writes at its end.
func (p *plan) series(ctx context.Context, t target, s step, r *result, after time.Duration) error {
	if err := bench.Sleep(ctx, after); err != nil {
		return err
	}
	if err := t.write(ctx, s.writers); err != nil {
		return err
	}
	for i := range s.times {
		took, err := s.once(ctx, t, after)
		if err != nil {
			if len(r.took) > 0 { // these were
				p.results = append(p.results, *r)
			}
			return fmt.Errorf("time %d of %d: %w", i+1, s.times, err)
		}
		r.took = append(r.took, took)
		fmt.Fprintf(p.progress, "%s, %d nodes, %s, %d of %d: %s\n", r.system, r.nodes, r.what, i+1, s.times, milliseconds(took))
	}
	did, err := t.finish(ctx)
	if err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	p.tally.acknowledged += did.acknowledged
	p.tally.unknown += did.unknown
	p.tally.unmoved += did.unmoved
	p.results = append(p.results, *r)
	return nil
}
