package builtin

import (
	"context"
	"errors"
	"sync"
)

// errClosed means that the server is closed.
var errClosed = errors.New("the engine is stopping")

// lifetime owns the goroutines of a server.
type lifetime struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

func newLifetime() *lifetime {
	l := &lifetime{}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// hold keeps close from returning until release is called. It reports false, and
// then holds nothing, once close has begun.
func (l *lifetime) hold() (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, false
	}
	l.wg.Add(1)
	return l.wg.Done, true
}

// start runs fn in a goroutine that close waits for.
func (l *lifetime) start(fn func(ctx context.Context)) bool {
	release, ok := l.hold()
	if !ok {
		return false
	}
	go func() {
		defer release()
		fn(l.ctx)
	}()
	return true
}

// close ends the context and waits for everything that was held.
func (l *lifetime) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel(errClosed)
	l.wg.Wait()
}
