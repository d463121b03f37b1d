package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// Wire is a connection of a pool in the hands of somebody who writes a request and reads
// its answer himself, with nothing made for it: RoundTrip's way without its deadlines,
// retries and goroutines. The caller has Cut called when the exchange takes too long or the
// client has gone, and ends it by Return or Drop, exactly once. All methods but Cut are for
// one goroutine.
type Wire struct {
	c      *conn
	reader *http1.Reader
}

// Borrow returns a connection that has been idle and is healthy; nil when there is none,
// for RoundTrip to open one.
func (p *Pool) Borrow() *Wire {
	c := p.takeIdle()
	if c == nil {
		return nil
	}
	if c.wire.c == nil {
		c.wire.c, c.wire.reader = c, http1.NewReader(c.nc, p.cfg.Buffers.answers())
	}
	c.take()
	if c.clearDeadlines() != nil {
		c.close()
		return nil
	}
	p.cfg.Metrics.countReused()
	if p.cfg.AnyByte {
		p.silence.await(p.cfg.Now)
	}
	return &c.wire
}

// clearDeadlines takes away what RoundTrip may have left: it arms coarsely.
func (c *conn) clearDeadlines() error {
	c.read.mu.Lock()
	defer c.read.mu.Unlock()
	if c.read.set.IsZero() && c.write.IsZero() {
		return nil
	}
	c.read.set, c.write = time.Time{}, time.Time{}
	return c.nc.SetDeadline(time.Time{})
}

// Write writes a request, or a piece of one.
func (w *Wire) Write(b []byte) (int, error) { return w.c.nc.Write(b) }

// Net is the connection itself, for bodies that are not read by the Reader.
func (w *Wire) Net() net.Conn { return w.c.nc }

// Reader reads the answer.
func (w *Wire) Reader() *http1.Reader { return w.reader }

// Answered is to be called with the head of the answer.
func (w *Wire) Answered() {
	w.c.answered.Store(true)
	w.c.pool.cfg.Metrics.countAnswered()
	w.silent(true)
}

func (w *Wire) silent(answered bool) {
	if p := w.c.pool; p.cfg.AnyByte {
		p.silence.done(p.cfg.Now, answered)
	}
}

// Cut ends the exchange: whoever reads or writes gets an error. It may be called by any
// goroutine, before Return or Drop.
func (w *Wire) Cut() { _ = w.c.nc.Close() }

// Keep makes the connection the client's own, as Response.Pinned; see Pin. What it already
// is stays.
func (w *Wire) Keep() *Pin {
	if w.c.pin == nil {
		newPin(w.c)
	}
	return w.c.pin
}

// Return gives the connection back, after an exchange that has left nothing behind.
func (w *Wire) Return() {
	w.reader.Release()
	w.c.pool.release(w.c)
}

// Drop closes the connection.
func (w *Wire) Drop() {
	w.reader.Release()
	w.c.close()
}

// Failed ends an exchange that came to no head of an answer. The error is of the kinds that
// RoundTrip returns; stale says that the connection had died while it was idle, so that
// nobody has seen the request, or nobody minds if it is idempotent.
func (w *Wire) Failed(ctx context.Context, err error, sent bool) (reason error, stale bool) {
	cut, answered := w.c.cut.Load(), len(w.reader.Buffered()) > 0
	p := w.c.pool
	w.silent(false)
	w.Drop()
	var bad *http1.Error
	switch {
	case !sent:
		reason, stale = &NotSentError{Err: err}, true
	case cut:
		reason = ErrCut
	case errors.As(err, &bad):
		reason = &BadAnswerError{Reason: bad.Reason}
	case isTimeout(err):
		reason = &TimeoutError{Phase: PhaseHead}
	case answered:
		reason = fmt.Errorf("read head: %w", err)
	default:
		reason, stale = fmt.Errorf("%w: %w", ErrNoAnswer, err), true
	}
	if stale {
		p.cfg.Metrics.countRetry()
	} else {
		p.cfg.Metrics.countExchange(ctx, reason)
	}
	return reason, stale
}
