package main

import (
	"context"
	"sync"
	"time"
)

// behind is how much of what was not done in time is made up for.
const behind = 50 * time.Millisecond

// governor bounds what all abusers do together: acts a second, and the part of a core that
// their process takes.
type governor struct {
	rate  float64
	share float64
	cpu   func() time.Duration // of this process so far
	began time.Time

	mu   sync.Mutex
	next time.Time // when the next act may be done
}

// take waits until n more acts may be done; it returns an error when ctx ends first.
func (g *governor) take(ctx context.Context, n int) error {
	now := time.Now()
	g.mu.Lock()
	at := g.schedule(now, n)
	g.mu.Unlock()
	wait := max(at.Sub(now), spared(now.Sub(g.began), g.cpu(), g.share))
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// schedule is called with the lock held.
func (g *governor) schedule(now time.Time, n int) time.Time {
	if late := now.Add(-behind); g.next.Before(late) {
		g.next = late
	}
	at := g.next
	g.next = g.next.Add(time.Duration(float64(n) / g.rate * float64(time.Second)))
	return at
}

// spared is how long a process has to rest until it took no more than its share.
func spared(elapsed, cpu time.Duration, share float64) time.Duration {
	return max(0, time.Duration(float64(cpu)/share)-elapsed)
}
