//go:build unix

package upstream

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peeker asks the kernel about an idle socket without reading from it.
type peeker struct {
	raw   syscall.RawConn
	fds   [1]unix.PollFd
	ready bool
	ask   func(fd uintptr) // made once, so that asking allocates nothing
}

// newPeeker returns nil for a connection that is not itself a socket. One that wraps
// a socket, as TLS does, may hold bytes that the kernel knows nothing of.
func newPeeker(nc net.Conn) *peeker {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	p := &peeker{raw: raw}
	p.ask = p.poll
	return p
}

func (p *peeker) poll(fd uintptr) {
	p.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	for {
		n, err := unix.Poll(p.fds[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		p.ready = n != 0 || err != nil
		return
	}
}

// quiet reports whether the socket is open and has nothing to read: bytes that no
// request asked for are as bad as an end.
func (p *peeker) quiet() bool {
	p.ready = true
	err := p.raw.Control(p.ask)
	return err == nil && !p.ready
}
