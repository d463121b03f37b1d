package consensus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// calls counts what was asked of Raft and is not answered yet. Raft's futures cannot
// be given up, so each is waited for by a goroutine of its own, and whoever asked may
// leave before. The goroutine ends with the future: when the entry is applied, when
// leadership is lost, or when Raft shuts down.
type calls struct {
	mu     sync.Mutex
	n      int
	closed bool
}

// begin reports whether one more may be made.
func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.n++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
}

func (c *calls) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

func (c *calls) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// leftError means that the caller left while Raft was still at work.
type leftError struct{ err error }

func (e *leftError) Error() string { return "not waited for: " + e.err.Error() }
func (e *leftError) Unwrap() error { return e.err }

// await asks Raft and waits for the answer, or until ctx ends: a *leftError then.
// The whole counts as one call from begin to the future's end. The caller has begun
// it.
func (s *Store) await(ctx context.Context, ask func() raft.Future) error {
	answer := make(chan error, 1)
	go func() {
		defer s.calls.end()
		answer <- ask().Error()
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return &leftError{ctx.Err()}
	}
}

// endCalls lets no more calls begin, and waits for those that are under way while
// Raft can still answer them: a leader without a majority gives up, and answers,
// within an election timeout.
func (s *Store) endCalls(c *calls) {
	c.close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.cfg.Election)
	defer cancel()
	for c.count() > 0 {
		if !pause(ctx, time.Millisecond) {
			s.log.Debug().Msg("closing with calls under way")
			return
		}
	}
}

// change is a call that changes Raft's configuration.
func (s *Store) change(ctx context.Context, what string, ask func(timeout time.Duration) raft.IndexFuture) error {
	switch err := s.enter(ctx); { // it is an entry too, and would pass a planned move by
	case errors.Is(err, ErrNotLeader):
		return ErrNotLeader
	case err != nil:
		return fmt.Errorf("%s: %w", what, err)
	}
	err := s.await(ctx, func() raft.Future { return ask(untilDeadline(ctx)) })
	var left *leftError
	switch {
	case err == nil:
		return nil
	case isNotLeader(err):
		return ErrNotLeader
	case errors.As(err, &left):
		return fmt.Errorf("%s: %w: %w", what, ErrUnknown, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
