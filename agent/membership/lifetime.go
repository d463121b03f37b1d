package membership

import (
	"context"
	"errors"
	"sync"
)

var errRunning = errors.New("membership runs already")

// lifetime orders Run, Leave and Close: Run at most once at a time, Close once and
// after Run has ended, Leave never after Close.
type lifetime struct {
	ctx    context.Context // ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	leave  sync.Mutex // held while leaving and closing

	mu      sync.Mutex
	running bool
	closed  bool
}

func (l *lifetime) init() { l.ctx, l.cancel = context.WithCancel(context.Background()) }

// begin starts a run, whose context ends with ctx or with close.
func (l *lifetime) begin(ctx context.Context) (run context.Context, end func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		return nil, nil, ErrClosed
	case l.running:
		return nil, nil, errRunning
	}
	l.running = true
	l.wg.Add(1)
	run, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return run, func() {
		stop()
		cancel()
		l.mu.Lock()
		l.running = false
		l.mu.Unlock()
		l.wg.Done()
	}, nil
}

// exclusive runs fn unless closed, and keeps close waiting.
func (l *lifetime) exclusive(fn func() error) error {
	l.leave.Lock()
	defer l.leave.Unlock()
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return fn()
}

// close runs fn once, after the run has ended. Later calls wait for it.
func (l *lifetime) close(fn func() error) error {
	l.leave.Lock()
	defer l.leave.Unlock()
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.cancel()
	l.wg.Wait()
	return fn()
}
