package tunnel

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The two ends of a parked tunnel.
const (
	atClient = 0
	atServer = 1
)

// parked is a tunnel that a loop serves. All of it is the loop's, but for nudged.
type parked struct {
	t       *Tunnel
	loop    *loop
	slot    int32
	nudged  bool // under loop.mu
	gone    bool
	timeout time.Duration // for what could not be written at once
	ends    [2]end
	shell   io.Closer // what the client's connection was wrapped in, or left to be told of the end; nil for nothing
}

// end is one of its connections: the source of one lane, and where the other one leads.
type end struct {
	p     *parked
	fd    int32
	mask  uint32 // what epoll looks for
	from  *lane
	last  error  // what reading ended with
	out   []byte // could not be written at once; while there is any, the other end is not read
	since int64  // the last progress of that, UnixNano
}

// other is the end on the other side.
func (e *end) other() *end {
	if e == &e.p.ends[atClient] {
		return &e.p.ends[atServer]
	}
	return &e.p.ends[atClient]
}

// arrival is a tunnel on its way to its loop, with what was read of its ends before.
type arrival struct {
	p     *parked
	first [2][]byte
}

// settle takes a tunnel that has just arrived.
func (a *arrival) settle() {
	p := a.p
	p.slot = p.loop.place(p)
	p.t.begin(func() { p.loop.nudge(p) })
	for i := range p.ends {
		e := &p.ends[i]
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: p.slot, Pad: int32(i)}
		if err := unix.EpollCtl(p.loop.fd, unix.EPOLL_CTL_ADD, int(e.fd), &ev); err != nil {
			p.finish(fmt.Errorf("epoll_ctl: %w", err))
			return
		}
		e.mask = ev.Events
	}
	for i, first := range a.first {
		if len(first) > 0 && !p.gone {
			p.ends[i].pass(first)
		}
	}
	p.step()
}

// serve does what an event calls for.
func (p *parked) serve(e *end, events uint32) {
	if events&unix.EPOLLOUT != 0 {
		e.flush()
	}
	switch {
	case p.gone:
		return
	case e.mask&unix.EPOLLIN != 0:
		e.read()
	case events&(unix.EPOLLERR|unix.EPOLLHUP) != 0:
		e.dead()
	}
	if !p.gone {
		p.interest()
	}
}

// read passes on what has come.
func (e *end) read() {
	n, err := unix.Read(int(e.fd), e.p.loop.buf)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
	case err != nil:
		e.ended(os.NewSyscallError("read", err))
	case n == 0:
		e.ended(io.EOF)
	default:
		e.pass(e.p.loop.buf[:n])
	}
}

// pass has the lane take what came from this end.
func (e *end) pass(b []byte) {
	if err := e.from.forward(b); err != nil {
		e.p.laneEnded(e.from, err)
	}
}

// ended notes that nothing more comes from this end. What did is passed on first.
func (e *end) ended(err error) {
	e.last = err
	if len(e.other().out) == 0 {
		e.p.laneEnded(e.from, e.from.sourceEnded(err))
	}
}

// dead notes that the connection of an end that is not being read has been reset.
func (e *end) dead() {
	code, err := unix.GetsockoptInt(int(e.fd), unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil {
		err = unix.Errno(code)
	}
	e.out = nil
	to := e.other().from
	e.p.laneEnded(to, fmt.Errorf("write to %s: %w", to.name(!to.fromClient), err))
	if !e.p.gone {
		e.p.laneEnded(e.from, e.from.sourceEnded(err))
	}
}

// put implements sink for the lane that leads here.
func (e *end) put(b []byte) error {
	if len(e.out) > 0 {
		e.out = append(e.out, b...)
		return nil
	}
	n, err := write(e.fd, b)
	if err == nil && n < len(b) {
		e.out = append([]byte(nil), b[n:]...)
		e.since = e.p.loop.lot.now().UnixNano()
	}
	return err
}

// write writes what can be written at once.
func write(fd int32, b []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, nil
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// flush writes what was left over.
func (e *end) flush() {
	n, err := write(e.fd, e.out)
	from := e.other()
	if err != nil {
		e.out = nil
		e.p.laneEnded(from.from, fmt.Errorf("write to %s: %w", from.from.name(!from.from.fromClient), err))
		return
	}
	if n > 0 {
		e.since = e.p.loop.lot.now().UnixNano()
	}
	if e.out = e.out[n:]; len(e.out) > 0 {
		return
	}
	e.out = nil
	if from.last != nil {
		e.p.laneEnded(from.from, from.from.sourceEnded(from.last))
	}
}

// laneEnded ends a lane, and with it the tunnel if it must be.
func (p *parked) laneEnded(l *lane, err error) {
	if p.gone || l.over {
		return
	}
	switch err := p.t.laneEnded(l, err); {
	case err != nil:
		p.finish(err)
		return
	case p.t.bothEnded():
		p.finish(p.t.fate.err)
		return
	}
	to := &p.ends[atServer]
	if l == &p.t.down {
		to = &p.ends[atClient]
	}
	to.other().last = io.EOF                    // it may have ended for its destination's sake
	_ = unix.Shutdown(int(to.fd), unix.SHUT_WR) // both are closed soon anyway
	p.step()
}

// step does what the tunnel's fate asks for.
func (p *parked) step() {
	if p.gone {
		return
	}
	if _, over := p.t.step(); over {
		p.finish(p.t.fate.err)
		return
	}
	for _, l := range [2]*lane{&p.t.up, &p.t.down} {
		if l.over || p.gone {
			continue
		}
		if err := l.serve(); err != nil {
			p.laneEnded(l, err)
		}
	}
	if !p.gone {
		p.interest()
	}
}

// look is the loop's look at a tunnel, once a second.
func (p *parked) look(now time.Time) {
	for i := range p.ends {
		if e := &p.ends[i]; len(e.out) > 0 && now.UnixNano()-e.since > int64(p.timeout) {
			to := e.other().from
			e.out = nil
			p.laneEnded(to, fmt.Errorf("write to %s: %w", to.name(!to.fromClient), os.ErrDeadlineExceeded))
		}
	}
	p.step()
}

// interest tells epoll what the tunnel waits for now.
func (p *parked) interest() {
	for i := range p.ends {
		e := &p.ends[i]
		var want uint32
		if e.last == nil && len(e.other().out) == 0 {
			want = unix.EPOLLIN
		}
		if len(e.out) > 0 {
			want |= unix.EPOLLOUT
		}
		if want == e.mask {
			continue
		}
		ev := unix.EpollEvent{Events: want, Fd: p.slot, Pad: int32(i)}
		if err := unix.EpollCtl(p.loop.fd, unix.EPOLL_CTL_MOD, int(e.fd), &ev); err != nil {
			p.finish(fmt.Errorf("epoll_ctl: %w", err))
			return
		}
		e.mask = want
	}
}

// finish ends the tunnel.
func (p *parked) finish(err error) {
	p.gone = true
	p.loop.vacate(p.slot)
	for i := range p.ends {
		_ = unix.Close(int(p.ends[i].fd)) // nobody can be told
	}
	shell, t, lot := p.shell, p.t, p.loop.lot
	go func() { // it may wait for others
		if shell != nil {
			_ = shell.Close()
		}
		lot.ended(t, err)
	}()
}
