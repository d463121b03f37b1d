package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// Connections that are not used are kept for a minute: a run that does not wait for that
// allows for one of each session, at both ends.
const (
	leakWithin = 100 * time.Second
	leakSoon   = 5 * time.Second
)

// keepHeld writes down what each agent's goroutines do, and its connections: after a leak
// that is the question.
func (r *runner) keepHeld(ctx context.Context) error {
	var errs error
	for _, n := range r.w.Nodes {
		text, err := n.Client.Debug(ctx, admin.DebugGoroutines)
		if err == nil {
			var conns []byte
			conns, err = n.Connections()
			text = append(conns, text...)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, n.Name+".held"), text, 0o644)
		}
		errs = errors.Join(errs, err)
	}
	return errs
}

// leaks waits until no agent holds more than before; the error says who does.
func (r *runner) leaks(ctx context.Context, before []world.Resources) error {
	within, kept := leakWithin, 0
	if !r.size.Long {
		within, kept = leakSoon, 2*r.size.Sessions
	}
	return r.w.Leaks(ctx, before, kept, within)
}
