//go:build linux

package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// loss is one way of losing a member and of getting it back.
type loss struct {
	happen func(i int) (time.Time, error) // the time right before it
	mend   func(i int) error
}

func kill(ctx context.Context, t target, after time.Duration) (time.Duration, error) {
	return lose(ctx, t, after, loss{
		happen: func(i int) (time.Time, error) { return t.member(i).Kill() },
		mend:   func(i int) error { return t.member(i).Start() },
	})
}

func stop(ctx context.Context, t target, after time.Duration) (time.Duration, error) {
	return lose(ctx, t, after, loss{
		happen: func(i int) (time.Time, error) { at := time.Now(); return at, t.member(i).Signal(syscall.SIGSTOP) },
		mend:   func(i int) error { return t.member(i).Signal(syscall.SIGCONT) },
	})
}

// lose takes the leader away while all write through the others, measures, and
// returns when the cluster is whole again and as much as after has passed.
func lose(ctx context.Context, t target, after time.Duration, l loss) (time.Duration, error) {
	victim, err := t.leader(ctx)
	if err != nil {
		return 0, err
	}
	if err := t.avoid(ctx, victim); err != nil {
		return 0, err
	}
	if err := t.pause(ctx, false); err != nil {
		return 0, err
	}
	if err := bench.Sleep(ctx, settle); err != nil {
		return 0, err
	}
	if now, err := t.leader(ctx); err != nil || now != victim {
		return 0, fmt.Errorf("the leadership went from %d to %d by itself (%w)", victim, now, err)
	}
	at, err := l.happen(victim)
	if err != nil {
		return 0, err
	}
	s, err := t.recovered(ctx, at)
	if err != nil {
		return 0, err
	}
	if err := t.succeeded(ctx, victim); err != nil {
		return 0, fmt.Errorf("nobody took over from %d: %w", victim, err)
	}
	again := at.Add(s.Outage()).Add(after)
	if err := t.pause(ctx, true); err != nil {
		return 0, err
	}
	if err := l.mend(victim); err != nil {
		return 0, err
	}
	if err := t.caughtUp(ctx, victim); err != nil {
		return 0, err
	}
	return s.Outage(), bench.Sleep(ctx, time.Until(again))
}

// move moves the leadership while all write through all.
func move(ctx context.Context, t target, _ time.Duration) (time.Duration, error) {
	if err := t.avoid(ctx, -1); err != nil {
		return 0, err
	}
	if err := t.pause(ctx, false); err != nil {
		return 0, err
	}
	if err := bench.Sleep(ctx, settle); err != nil {
		return 0, err
	}
	s, err := t.move(ctx)
	return s.Gap(), err
}
