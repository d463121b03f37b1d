package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// resources are what an agent holds while nobody uses it.
type resources struct {
	node                    string
	descriptors, goroutines int
}

// What an agent may hold more than before. Connections that are not used are kept for
// a minute: a run that does not wait for that allows for one of each session, at both ends.
const (
	moreDescriptors = 12
	moreGoroutines  = 30
	leakWithin      = 100 * time.Second
	leakSoon        = 5 * time.Second
)

func (r *runner) resources(ctx context.Context) ([]resources, error) {
	var out []resources
	for _, n := range r.w.Nodes {
		fds, err := n.Descriptors()
		if err != nil {
			return nil, err
		}
		goroutines, err := n.Goroutines(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, resources{n.Name, fds, goroutines})
	}
	return out, nil
}

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
func (r *runner) leaks(ctx context.Context, before []resources) error {
	within, kept := leakWithin, 0
	if !r.size.Long {
		within, kept = leakSoon, 2*r.size.Sessions
	}
	return world.Until(ctx, within, "nothing is held that was not before", func(ctx context.Context) error {
		now, err := r.resources(ctx)
		if err != nil {
			return err
		}
		for i, b := range before {
			if now[i].descriptors > b.descriptors+moreDescriptors+kept || now[i].goroutines > b.goroutines+moreGoroutines+kept {
				return fmt.Errorf("%s has %d descriptors and %d goroutines; before the run %d and %d",
					b.node, now[i].descriptors, now[i].goroutines, b.descriptors, b.goroutines)
			}
		}
		return nil
	})
}
