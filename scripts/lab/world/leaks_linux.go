package world

import (
	"context"
	"fmt"
	"time"
)

// Resources are what an agent holds.
type Resources struct {
	Node                    string
	Descriptors, Goroutines int
}

// What an agent may hold more than before.
const (
	moreDescriptors = 12
	moreGoroutines  = 30
)

// Resources of all agents, in the order of the nodes.
func (w *World) Resources(ctx context.Context) ([]Resources, error) {
	var out []Resources
	for _, n := range w.Nodes {
		fds, err := n.Descriptors()
		if err != nil {
			return nil, err
		}
		goroutines, err := n.Goroutines(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, Resources{n.Name, fds, goroutines})
	}
	return out, nil
}

// Leaks waits until no agent holds more than was held before, and so many connections that
// are kept for a while; the error says who does. Nodes that were not there before are held
// against the one that had most.
func (w *World) Leaks(ctx context.Context, before []Resources, kept int, within time.Duration) error {
	return Until(ctx, within, "nothing is held that was not before", func(ctx context.Context) error {
		now, err := w.Resources(ctx)
		if err != nil {
			return err
		}
		for _, r := range now {
			b := heldBefore(before, r.Node)
			if r.Descriptors > b.Descriptors+moreDescriptors+kept || r.Goroutines > b.Goroutines+moreGoroutines+kept {
				return fmt.Errorf("%s has %d descriptors and %d goroutines; before the run %d and %d",
					r.Node, r.Descriptors, r.Goroutines, b.Descriptors, b.Goroutines)
			}
		}
		return nil
	})
}

func heldBefore(before []Resources, node string) Resources {
	var most Resources
	for _, b := range before {
		if b.Node == node {
			return b
		}
		most.Descriptors, most.Goroutines = max(most.Descriptors, b.Descriptors), max(most.Goroutines, b.Goroutines)
	}
	return most
}
