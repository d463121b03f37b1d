package tunnel

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	loopBuffer = 64 << 10
	batch      = 128 // events that are taken at once
	noSlot     = -1  // of the event that wakes the loop
)

// loop serves parked tunnels in one goroutine. It waits by means of Go's own poller, which
// watches the loop's epoll instance: so it blocks no thread.
type loop struct {
	lot  *Lot
	ep   *os.File
	raw  syscall.RawConn
	fd   int // of ep
	bell int // eventfd(2): there are errands
	buf  []byte

	mu      sync.Mutex
	errands errands
	rung    bool // the bell has been rung, and not heard
	mute    bool // the bell is gone

	// What follows is the goroutine's own.
	events [batch]unix.EpollEvent
	slots  []*parked // an event tells the place in it
	free   []int32
	left   []int32 // places that come free when all events at hand are served
	closed bool
}

// errands are for the loop to do between two waits.
type errands struct {
	arrivals      []arrival
	nudged        []*parked
	look, closing bool
}

func newLoop(l *Lot) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	lp := &loop{lot: l, fd: fd, bell: bell, buf: make([]byte, loopBuffer)}
	err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, bell, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: noSlot})
	if err == nil {
		err = unix.SetNonblock(fd, true) // so that Go's poller takes it
	}
	if err == nil {
		lp.ep = os.NewFile(uintptr(fd), "epoll")
		lp.raw, err = lp.ep.SyscallConn()
	}
	if err != nil {
		_ = unix.Close(bell)
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make a loop: %w", err)
	}
	return lp, nil
}

// run serves until close.
func (lp *loop) run() {
	for !lp.closed {
		n, err := lp.wait()
		if err != nil {
			lp.closeAll(fmt.Errorf("epoll_wait: %w", err))
			break
		}
		for _, ev := range lp.events[:n] {
			if ev.Fd == noSlot {
				lp.hear()
				continue
			}
			if p := lp.slots[ev.Fd]; p != nil && !p.gone {
				p.serve(&p.ends[ev.Pad], ev.Events)
			}
		}
		lp.carryOut(lp.take())
		lp.free = append(lp.free, lp.left...)
		lp.left = lp.left[:0]
	}
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.mute = true // its number may soon be somebody else's
	_ = lp.ep.Close()
	_ = unix.Close(lp.bell)
}

// wait returns how many events there are, at least one.
func (lp *loop) wait() (n int, err error) {
	if rerr := lp.raw.Read(func(uintptr) bool {
		for {
			n, err = unix.EpollWait(lp.fd, lp.events[:], 0)
			if err != unix.EINTR {
				return n != 0 || err != nil
			}
		}
	}); rerr != nil {
		return 0, rerr
	}
	return n, err
}

// ring wakes the loop. It is called with the lock held.
func (lp *loop) ring() {
	if lp.rung || lp.mute {
		return
	}
	lp.rung = true
	_, _ = unix.Write(lp.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it cannot be full
}

// hear silences the bell.
func (lp *loop) hear() {
	var count [8]byte
	_, _ = unix.Read(lp.bell, count[:])
}

func (lp *loop) take() errands {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	e := lp.errands
	lp.errands, lp.rung = errands{}, false
	for _, p := range e.nudged {
		p.nudged = false
	}
	return e
}

func (lp *loop) carryOut(e errands) {
	for _, a := range e.arrivals {
		a.settle()
	}
	for _, p := range e.nudged {
		if !p.gone {
			p.step()
		}
	}
	if e.look {
		for _, p := range lp.slots {
			if p != nil && !p.gone {
				p.look(lp.lot.now())
			}
		}
	}
	if e.closing {
		lp.closeAll(ErrClosed)
	}
}

func (lp *loop) closeAll(err error) {
	for _, p := range lp.slots {
		if p != nil && !p.gone {
			p.finish(err)
		}
	}
	lp.closed = true
}

// arrive gives the loop a tunnel.
func (lp *loop) arrive(a arrival) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.errands.arrivals = append(lp.errands.arrivals, a)
	lp.ring()
}

// nudge has the loop look at one tunnel.
func (lp *loop) nudge(p *parked) {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	if !p.nudged {
		p.nudged = true
		lp.errands.nudged = append(lp.errands.nudged, p)
		lp.ring()
	}
}

// look has it look at all.
func (lp *loop) look() {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.errands.look = true
	lp.ring()
}

func (lp *loop) close() {
	lp.mu.Lock()
	defer lp.mu.Unlock()
	lp.errands.closing = true
	lp.ring()
}

// place finds a slot for a tunnel.
func (lp *loop) place(p *parked) int32 {
	if n := len(lp.free); n > 0 {
		slot := lp.free[n-1]
		lp.free = lp.free[:n-1]
		lp.slots[slot] = p
		return slot
	}
	lp.slots = append(lp.slots, p)
	return int32(len(lp.slots) - 1)
}

// vacate gives it back. Events at hand may still name it.
func (lp *loop) vacate(slot int32) {
	lp.slots[slot] = nil
	lp.left = append(lp.left, slot)
}
