//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
)

// usher is a cluster of agents under background writers.
type usher struct {
	*bench.Usher
	*bench.Writers
	unmoved int   // planned moves that did not come about
	noted   tally // what was told of before
}

func openUsher(ctx context.Context, binary, dir string, n int, nets *bench.Namespaces) (target, error) {
	c, err := bench.OpenUsher(ctx, bench.UsherConfig{Binary: binary, Dir: dir, Nodes: n, Net: nets})
	if err != nil {
		return nil, err
	}
	var to []bench.WriteTo
	for _, a := range c.Agents {
		to = append(to, bench.WriteTo{API: a.API, Token: c.Token})
	}
	return &usher{Usher: c, Writers: bench.NewWriters(to)}, nil
}

func (u *usher) leader(ctx context.Context) (int, error)   { return u.Leader(ctx) }
func (u *usher) member(i int) *bench.Process               { return u.Agents[i].Process }
func (u *usher) caughtUp(ctx context.Context, i int) error { return u.CaughtUp(ctx, i) }

func (u *usher) succeeded(ctx context.Context, i int) error {
	_, err := u.Leader(ctx, i)
	return err
}

func (u *usher) avoid(_ context.Context, i int) error {
	u.Avoid(i)
	return nil
}

func (u *usher) pause(_ context.Context, on bool) error {
	u.Pause(on)
	return nil
}

func (u *usher) write(_ context.Context, workers int) error {
	u.Start(workers)
	return nil
}

func (u *usher) recovered(ctx context.Context, after time.Time) (bench.Span, error) {
	return u.Recovered(ctx, after, time.Minute)
}

func (u *usher) move(ctx context.Context) (bench.Span, error) {
	leads, err := u.Leader(ctx)
	if err != nil {
		return bench.Span{}, err
	}
	began := time.Now()
	var refused *admin.Problem
	switch _, err := u.Agents[leads].Client.MoveCentral(ctx, ""); {
	case errors.As(err, &refused) && refused.Code == admin.CodeConflict:
		u.unmoved++ // the old leader goes on, and has held writes back all the same
	case err != nil:
		return bench.Span{}, fmt.Errorf("move: %w", err)
	}
	if err := bench.Sleep(ctx, time.Second); err != nil {
		return bench.Span{}, err
	}
	return u.Since(began), nil
}

func (u *usher) finish(ctx context.Context) (tally, error) {
	u.Stop()
	if err := bench.Sleep(ctx, bench.LateWrites); err != nil {
		return tally{}, err
	}
	final, _, err := u.Final(ctx)
	if err != nil {
		return tally{}, err
	}
	writes, unknown := u.Writes()
	all := tally{acknowledged: len(writes) - unknown, unknown: unknown, unmoved: u.unmoved}
	did := tally{all.acknowledged - u.noted.acknowledged, all.unknown - u.noted.unknown, all.unmoved - u.noted.unmoved}
	u.noted = all
	return did, bench.Lost(writes, final)
}

// Close ends the writers and the agents.
func (u *usher) Close() error {
	u.Stop()
	for _, a := range u.Agents {
		if !a.Running() {
			return errors.Join(fmt.Errorf("%s is not running; its last words:\n%s", a.Name, a.Words()), u.Usher.Close())
		}
	}
	return u.Usher.Close()
}
