package upstream

import (
	"context"
	"fmt"
	"slices"
)

// turns bound how many connections are being opened. When many users come at once, as after
// the loss of a node, each would else open one, and the handshakes of a thousand connections
// take longer than the requests for which they are meant: a connection that was opened for one of them
// soon comes free for the others.
type turns struct {
	dialing int
	waiting []*waiter // first come, first served
}

// waiter waits for a connection, or for leave to open one, or for an error.
type waiter struct {
	c    *conn
	err  error
	done chan struct{} // closed when one of the three is there: none set is leave
}

// turn returns a connection that has come free, or neither that nor an error: then the
// caller has to open one and call dialed.
func (p *Pool) turn(ctx context.Context) (*conn, error) {
	p.mu.Lock()
	if p.cfg.MaxDials <= 0 || p.turns.dialing < p.cfg.MaxDials {
		p.turns.dialing++
		p.mu.Unlock()
		return nil, nil //nolint:nilnil // see above
	}
	w := &waiter{done: make(chan struct{})}
	p.turns.waiting = append(p.turns.waiting, w)
	p.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	select {
	case <-w.done:
		return w.c, w.err
	case <-bounded.Done():
	}
	p.leave(w)
	if ctx.Err() == nil {
		return nil, fmt.Errorf("%w: %w", &TimeoutError{Phase: PhaseDial}, bounded.Err())
	}
	return nil, context.Cause(ctx)
}

// leave is for one who does not wait any longer. What he has got meanwhile goes to others.
func (p *Pool) leave(w *waiter) {
	p.mu.Lock()
	i := slices.Index(p.turns.waiting, w)
	if i >= 0 {
		p.turns.waiting = slices.Delete(p.turns.waiting, i, i+1)
	}
	p.mu.Unlock()
	switch {
	case i >= 0 || w.err != nil:
	case w.c != nil:
		p.release(w.c)
	default:
		p.dialed()
	}
}

// dialed passes the turn on.
func (p *Pool) dialed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns.dialing--
	if w := p.turns.next(); w != nil {
		p.turns.dialing++
		close(w.done)
	}
}

// next is the one that has waited longest; nil when nobody waits. The pool's lock is held.
func (t *turns) next() *waiter {
	if len(t.waiting) == 0 {
		return nil
	}
	w := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	return w
}

// give hands a connection that has just come free to one who waits. The pool's lock is
// held.
func (t *turns) give(c *conn) bool {
	w := t.next()
	if w == nil {
		return false
	}
	c.dropReader()
	c.reused = true
	w.c = c
	close(w.done)
	return true
}

// refuse fails all who wait. The pool's lock is held.
func (t *turns) refuse(err error) {
	for w := t.next(); w != nil; w = t.next() {
		w.err = err
		close(w.done)
	}
}
