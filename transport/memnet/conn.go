package memnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// conn is one end of a link. It implements net.Conn, and CloseWrite as
// *net.TCPConn does.
type conn struct {
	link          *link
	side          int // ours is link.dirs[side], the other's link.dirs[1-side]
	host          *Host
	network       string
	local, remote net.Addr

	// Guarded by link.mu.
	closed      bool
	killed      bool // the process on this end died
	writeClosed bool
	read, write deadline
}

// deadline wakes the link when it passes.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// orNil keeps a nil *conn from becoming a net.Conn that is not nil.
func (c *conn) orNil() net.Conn {
	if c == nil {
		return nil
	}
	return c
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	in := &l.dirs[1-c.side]
	for {
		switch {
		case c.closed:
			return 0, c.fail("read", net.ErrClosed)
		case c.killed || in.reset:
			return 0, c.fail("read", os.NewSyscallError("read", syscall.ECONNRESET))
		case c.read.passed():
			return 0, c.fail("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case in.arrived.Len() > 0:
			n := copy(p, in.arrived.Next(len(p)))
			in.size -= n
			l.cond.Broadcast()
			return n, nil
		case in.fin:
			return 0, io.EOF
		}
		l.cond.Wait()
	}
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	out, in := &l.dirs[c.side], &l.dirs[1-c.side]
	done := 0
	for {
		switch {
		case c.closed:
			return done, c.fail("write", net.ErrClosed)
		case c.killed || in.reset:
			return done, c.fail("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case c.write.passed():
			return done, c.fail("write", os.ErrDeadlineExceeded)
		case c.writeClosed || in.gone:
			return done, c.fail("write", os.NewSyscallError("write", syscall.EPIPE))
		}
		if n := min(len(p)-done, window-out.size); n > 0 {
			l.send(c.side, segment{data: p[done : done+n]})
			done += n
		}
		if done == len(p) {
			return done, nil
		}
		l.cond.Wait()
	}
}

// CloseWrite ends our direction: the other side reads EOF after what was
// written, and may go on writing.
func (c *conn) CloseWrite() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	if !c.writeClosed && !c.killed {
		c.writeClosed = true
		l.send(c.side, segment{fin: true})
		l.cond.Broadcast()
	}
	return nil
}

// Close implements net.Conn. What was written is still delivered.
func (c *conn) Close() error {
	if err := c.shut(); err != nil {
		return err
	}
	c.link.net.forget(c.link)
	return nil
}

func (c *conn) shut() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("close", net.ErrClosed)
	}
	c.closed = true
	c.read.stop()
	c.write.stop()
	in := &l.dirs[1-c.side]
	in.size -= in.arrived.Len()
	in.arrived = bytes.Buffer{}
	if !c.killed {
		l.send(c.side, segment{fin: true, gone: true})
	}
	l.cond.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.arm(t, &c.read, &c.write) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.arm(t, &c.read) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.arm(t, &c.write) }

func (c *conn) arm(t time.Time, deadlines ...*deadline) error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return c.fail("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		d.stop()
		// A deadline that has passed needs no timer: the broadcast below wakes whoever
		// waits. (A timer that is due at once crashed the race detector in bubbles.)
		if d.at = t; !t.IsZero() && time.Until(t) > 0 {
			d.timer = time.AfterFunc(time.Until(t), func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.cond.Broadcast()
			})
		}
	}
	l.cond.Broadcast()
	return nil
}

func (c *conn) fail(op string, err error) error {
	return opError(op, c.network, c.local, c.remote, err)
}
