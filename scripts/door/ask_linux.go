package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// asking is requests over connections of which each sends the next one when the last is
// answered; or, if fewer requests than connections are to be on their way, over those that
// have been silent for longest.
type asking struct {
	*loop
	t      *task
	body   []byte
	askers []*asker
	turn   int
	done   int
	moved  int // bytes of bodies, both ways
}

// ask measures requests.
func (t *task) ask() (sample, error) {
	l, err := openLoop()
	if err != nil {
		return sample{}, err
	}
	a := &asking{loop: l, t: t, body: pattern(t.Body)}
	for range t.Connections {
		if err := a.open(); err != nil {
			return sample{}, fmt.Errorf("open a connection: %w", err)
		}
	}
	for range t.Flying {
		if err := a.next(); err != nil {
			return sample{}, err
		}
	}
	return l.measure(t, a.progress)
}

// next sends a request over the connection whose turn it is.
func (a *asking) next() error {
	for {
		c := a.askers[a.turn]
		a.turn = (a.turn + 1) % len(a.askers)
		if !c.busy {
			return c.send()
		}
	}
}

// progress is requests so far. Of long ones there are few in a window: their bytes count.
func (a *asking) progress() float64 {
	if a.t.large() {
		return float64(a.moved) / float64(a.t.Body+a.t.Size)
	}
	return float64(a.done)
}

// measure runs the loop for the warm-up, and then for the time that counts.
func (l *loop) measure(t *task, progress func() float64) (s sample, err error) {
	debug.SetGCPercent(-1) // the loop makes no garbage
	begin := time.Now().Add(t.WarmUp)
	end := begin.Add(t.Time)
	var from, to mark
	err = l.run(func(now time.Time) (bool, error) {
		var err error
		switch {
		case from.at.IsZero() && !now.Before(begin):
			from, err = takeMark(t.PIDs, progress())
			end = from.at.Add(t.Time)
		case !from.at.IsZero() && !now.Before(end):
			to, err = takeMark(t.PIDs, progress())
			return true, err
		}
		return false, err
	})
	if err != nil {
		return s, err
	}
	return between(from, to)
}

// asker is one connection.
type asker struct {
	a       *asking
	fd      int
	head    []byte // of every request
	out     []byte // what is still to be sent of the head
	bodyOut []byte // and of the body
	answer  answer
	busy    bool // an answer is missing
	ending  bool // the answer has come, the connection's end has not
}

// open makes a user with a session.
func (a *asking) open() error {
	s, err := dial(a.t.Address)
	if err != nil {
		return err
	}
	cookie, err := a.t.introduce(s)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	c := &asker{a: a, fd: int(s), head: a.t.requestHead(a.t.Path, cookie)}
	if a.t.Kind == connections { // the first of them is there already
		c.head = a.t.requestHead(a.t.Path, cookie, "Connection: close")
	}
	a.askers = append(a.askers, c)
	return a.add(c.fd, c)
}

// again sends the request over a new connection.
func (c *asker) again() error {
	s, err := dial(c.a.t.Address)
	if err != nil {
		return err
	}
	c.fd = int(s)
	if err := c.a.add(c.fd, c); err != nil {
		return err
	}
	return c.send()
}

func (c *asker) send() error {
	c.busy, c.ending, c.out, c.bodyOut = true, false, c.head, c.a.body
	c.answer.reset()
	return c.flush()
}

func (c *asker) flush() error {
	for len(c.out)+len(c.bodyOut) > 0 {
		piece := &c.out
		if len(c.out) == 0 {
			piece = &c.bodyOut
		}
		n, err := unix.Write(c.fd, *piece)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("send a request: %w", err)
		}
		if piece == &c.bodyOut {
			c.a.moved += n
		}
		*piece = (*piece)[n:]
	}
	return nil
}

// ready sends, and reads until there is nothing more: less than was asked for means that
// there is none, and that there will be another edge.
func (c *asker) ready() error {
	if err := c.flush(); err != nil {
		return err
	}
	for {
		n, room, err := c.read()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case c.ending && (n == 0 || errors.Is(err, unix.ECONNRESET)):
			c.a.drop(c.fd)
			return c.again()
		case err != nil:
			return fmt.Errorf("read an answer: %w", err)
		case n == 0:
			return fmt.Errorf("the proxy closed a connection after %d requests, before it answered", c.a.done)
		case c.ending:
			return errSurplus
		}
		if c.answer.done {
			if err := c.finish(); err != nil {
				return err
			}
		}
		if n < room && !c.ending {
			return nil
		}
	}
}

// read takes a piece; bytes of a body that is under way are not copied.
func (c *asker) read() (n, room int, err error) {
	before := c.answer.got
	if room = min(c.answer.missing(), mib); room > 0 {
		if n, err = discard(c.fd, c.a.buf, room); err == nil {
			c.answer.skip(n)
		}
	} else if room = len(c.a.buf); true {
		if n, err = unix.Read(c.fd, c.a.buf); err == nil && n > 0 && !c.ending {
			err = c.answer.feed(c.a.buf[:n])
		}
	}
	c.a.moved += c.answer.got - before
	return n, room, err
}

func (c *asker) finish() error {
	if err := c.answer.check(c.a.t.Size); err != nil {
		return err
	}
	c.busy = false
	c.a.done++
	if c.a.t.Kind == connections || c.answer.close {
		c.ending = true
		return nil
	}
	if c.a.t.Flying < len(c.a.askers) {
		return c.a.next()
	}
	return c.send()
}
