package serve

import (
	"errors"
	"os"
	"time"
)

// stage is what a connection does.
type stage int64

const (
	idle     stage = iota // waits for a request
	inHead                // reads one
	working               // answers it, and its body is not read whole
	awaiting              // answers it, and nothing more of it comes: the client is watched
	ended                 // late, cut, or the client has gone; set by others than the connection's goroutine
)

// The word of a connection: its stage, whether something is attached to it, since when the
// request is under way, and by when the stage must be left, both in ticks; 0 for never.
const (
	stageBits = 3
	tied      = 1 << stageBits
	tickShift = stageBits + 1
	tickBits  = 29
	tickMask  = 1<<tickBits - 1
)

func word(st stage, since, due int64) int64 {
	return int64(st) | (since&tickMask)<<tickShift | (due&tickMask)<<(tickShift+tickBits)
}

func stageOf(w int64) stage { return stage(w & (1<<stageBits - 1)) }

func sinceOf(w int64) int64 { return w >> tickShift & tickMask }

func dueOf(w int64) int64 { return w >> (tickShift + tickBits) & tickMask }

// enter begins a stage, with a limit in ticks, 0 for none. It returns false when the
// connection was ended by others meanwhile; what they do is done then.
func (c *Conn) enter(st stage, limit int64) bool {
	c.at = st
	due := int64(0)
	if limit > 0 {
		due = c.s.tick.Load() + limit
	}
	w := word(st, c.began, due)
	if c.tied {
		w |= tied
	}
	if stageOf(c.word.Swap(w)) == ended {
		c.mu.Lock()
		c.over = true
		c.mu.Unlock()
	}
	return !c.over
}

// Work says that the request's body is being read, or what was read of it passed on, and
// for how many ticks at most that may make no progress. It returns false when the
// connection has come to its end: then whatever was attached has been cut.
func (c *Conn) Work(limit int64) bool { return c.enter(working, limit) }

// Await says that the request was read whole and its answer is under way, and for how many
// ticks at most that may make no progress. It returns as Work does.
func (c *Conn) Await(limit int64) bool { return c.enter(awaiting, limit) }

// Attach has x cut when the request ends before its time: because a limit passed, the
// client has gone, or the server is closed. It holds from the next call of Work or Await.
func (c *Conn) Attach(x Cutter) { c.other, c.tied = x, true }

// Detach ends that. It returns false when x was cut.
func (c *Conn) Detach(limit int64) bool {
	c.tied = false
	ok := c.enter(c.at, limit)
	c.other = nil
	return ok
}

// Revive takes back that a limit ended the request, for an answer that says so. It returns
// false when it was ended otherwise.
func (c *Conn) Revive() bool {
	if !c.late || c.nc.SetDeadline(time.Time{}) != nil {
		return false
	}
	c.late, c.over = false, false
	return c.enter(c.at, 0)
}

// look is the server's look at a connection.
func (c *Conn) look(now int64) {
	w := c.word.Load()
	switch due := dueOf(w); {
	case stageOf(w) == ended:
	case due > 0 && now > due:
		c.expire(w, true)
	case stageOf(w) == awaiting && now > sinceOf(w)+1 && c.watch.Load() == nil:
		c.observe(w)
	}
}

// expire ends what a connection does, unless it does something else by now. late says that
// it took too long.
func (c *Conn) expire(w int64, late bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.word.CompareAndSwap(w, word(ended, 0, 0)) {
		return false
	}
	c.late = late
	past := time.Unix(1, 0)
	if st := stageOf(w); st == idle || st == inHead {
		_ = c.nc.SetReadDeadline(past)
		return true
	}
	_ = c.nc.SetDeadline(past)
	if w&tied != 0 {
		c.other.Cut()
	}
	return true
}

// retire ends the connection if it is idle.
func (c *Conn) retire() {
	if w := c.word.Load(); stageOf(w) == idle {
		c.expire(w, false)
	}
}

// cut ends the connection, whatever it does.
func (c *Conn) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.word.Swap(word(ended, 0, 0))&tied != 0 {
		c.other.Cut()
	}
	_ = c.nc.Close()
}

// watch is somebody who reads from a client that waits for its answer.
type watch struct{ done chan struct{} }

// observe begins to read from a client, to learn that it has gone.
func (c *Conn) observe(w int64) {
	o := &watch{done: make(chan struct{})}
	c.watch.Store(o)
	if now := c.word.Load(); stageOf(now) != awaiting || sinceOf(now) != sinceOf(w) {
		c.watch.CompareAndSwap(o, nil) // the request has ended; whoever saw o waits for nothing
		close(o.done)
		return
	}
	c.s.running.Go(func() {
		defer close(o.done)
		err := c.reader.Ahead()
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			return // the next request has begun, or the answer is complete
		}
		for {
			w := c.word.Load()
			if stageOf(w) != awaiting {
				return
			}
			if c.expire(w, false) {
				return
			}
		}
	})
}

// rest ends a request, and whatever watched it.
func (c *Conn) rest() {
	c.tied = false
	c.enter(idle, c.s.idle) // from here on nobody begins to watch
	c.other = nil
	o := c.watch.Load()
	if o == nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	<-o.done
	c.watch.Store(nil)
	if c.nc.SetReadDeadline(time.Time{}) != nil {
		c.over = true
	}
}
