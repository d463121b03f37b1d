package upstream

import "time"

// watch reads one byte from an idle connection that cannot be peeked at: until the
// connection is used again, anything but a passed deadline means that it is dead,
// because nobody has asked for an answer.
type watch struct {
	done chan struct{}
	dead bool // valid after done
}

// rest makes c idle. If it takes a watcher, spawn starts it; the watcher calls gone
// (which may be nil) if c ends meanwhile.
func (c *conn) rest(spawn func(func()), gone func(*conn)) {
	c.dropReader()
	if c.peek != nil {
		return
	}
	c.read.set = time.Time{}
	w := &watch{done: make(chan struct{})}
	c.watch = w
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		w.dead = true
		close(w.done)
		return
	}
	spawn(func() {
		var one [1]byte
		n, err := c.nc.Read(one[:])
		w.dead = n > 0 || !isTimeout(err)
		close(w.done)
		if w.dead && gone != nil {
			gone(c)
		}
	})
}

// wake ends the rest and reports whether c is fit for another request: open, and
// with nothing to read.
func (c *conn) wake() bool {
	if c.peek != nil {
		return c.peek.quiet()
	}
	return c.stopWatch()
}

func (c *conn) stopWatch() bool {
	if c.watch == nil {
		return false
	}
	// The watcher is reading and owns nothing else; a deadline in the past ends that.
	c.read.set = time.Unix(1, 0)
	err := c.nc.SetReadDeadline(c.read.set)
	<-c.watch.done
	dead := c.watch.dead
	c.watch = nil
	return !dead && err == nil
}
