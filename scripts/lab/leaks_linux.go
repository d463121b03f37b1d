package main

import (
	"context"
	"time"

	"github.com/ushercluster/usher/scripts/lab/world"
)

// Connections that are not used are kept for a minute: a run that does not wait for that
// allows for one of each session, at both ends.
const (
	leakWithin = 100 * time.Second
	leakSoon   = 5 * time.Second
)

// leaks waits until no agent holds more than before; the error says who does.
func (r *runner) leaks(ctx context.Context, before []world.Resources) error {
	within, kept := leakWithin, 0
	if !r.size.Long {
		within, kept = leakSoon, 2*r.size.Sessions
	}
	return r.w.Leaks(ctx, before, kept, within)
}
