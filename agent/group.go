package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group owns goroutines: the first that fails ends them all, and Wait waits for
// every one.
type group struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancelCause(ctx)
	return g
}

// Go runs f until it returns. A nil return before the group has ended is fine.
func (g *group) Go(name string, f func(context.Context) error) {
	g.wg.Go(func() {
		if err := f(g.ctx); err != nil && !errors.Is(err, context.Canceled) {
			g.cancel(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// stop ends the group and waits for it; it returns what failed, if anything did.
func (g *group) stop() error {
	g.cancel(nil)
	g.wg.Wait()
	if err := context.Cause(g.ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stack is a last-in-first-out list of named steps to tear down what was built.
type stack struct{ steps []step }

type step struct {
	name string
	f    func() error
}

func (s *stack) push(name string, f func() error) { s.steps = append(s.steps, step{name, f}) }

// unwind runs the steps in reverse. Every step runs, whatever the others say. A step
// that only says cause again, why all is torn down, adds nothing to it.
func (s *stack) unwind(cause error) error {
	var errs []error
	for i := len(s.steps) - 1; i >= 0; i-- {
		if err := s.steps[i].f(); err != nil && (cause == nil || !errors.Is(err, cause)) {
			errs = append(errs, fmt.Errorf("close %s: %w", s.steps[i].name, err))
		}
	}
	s.steps = nil
	return errors.Join(errs...)
}
