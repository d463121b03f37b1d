package world

import (
	"context"
	"fmt"
	"slices"
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
// are kept for a while; the error says who does.
func (w *World) Leaks(ctx context.Context, before []Resources, kept int, within time.Duration) error {
	return Until(ctx, within, "nothing is held that was not before", func(ctx context.Context) error {
		now, err := w.Resources(ctx)
		if err != nil {
			return err
		}
		return leaked(before, now, kept)
	})
}

// leaked compares the agent that holds most with the one that held most, the second with the
// second, and so on, because whoever leads holds more, and the leaders change. Of agents that are
// more than before the least are held against the least.
func leaked(before, now []Resources, kept int) error {
	for _, what := range []struct {
		name string
		of   func(Resources) int
		more int
	}{
		{"descriptors", func(r Resources) int { return r.Descriptors }, moreDescriptors},
		{"goroutines", func(r Resources) int { return r.Goroutines }, moreGoroutines},
	} {
		most := func(a, b Resources) int { return what.of(b) - what.of(a) }
		was, is := slices.SortedFunc(slices.Values(before), most), slices.SortedFunc(slices.Values(now), most)
		for i, r := range is {
			if b := was[min(i, len(was)-1)]; what.of(r) > what.of(b)+what.more+kept {
				return fmt.Errorf("%s has %d %s; before the run %s, the next in this order, had %d",
					r.Node, what.of(r), what.name, b.Node, what.of(b))
			}
		}
	}
	return nil
}
