package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handler is a descriptor that a loop watches, edge-triggered: ready reads and writes
// until the kernel has no more. Its error ends the loop.
type handler interface{ ready() error }

// loop is epoll without Go's scheduler in between: load and backend share a core, and
// what they save is throughput that the proxy can show. It belongs to one goroutine.
type loop struct {
	fd       int
	handlers []handler // by descriptor
	buf      []byte    // of whoever is ready
}

func openLoop() (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll: %w", err)
	}
	return &loop{fd: fd, buf: make([]byte, 256<<10)}, nil
}

// add takes a descriptor over.
func (l *loop) add(fd int, h handler) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return fmt.Errorf("make a socket non-blocking: %w", err)
	}
	for len(l.handlers) <= fd {
		l.handlers = append(l.handlers, nil)
	}
	l.handlers[fd] = h
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | edge, Fd: int32(fd)}
	if err := unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch a socket: %w", err)
	}
	return nil
}

// edge is EPOLLET, which does not fit the type that it has in package unix.
const edge = uint32(1) << 31

// drop closes a descriptor.
func (l *loop) drop(fd int) {
	l.handlers[fd] = nil
	_ = unix.Close(fd)
}

// run serves what is ready, and asks after each batch whether it is over.
func (l *loop) run(over func(now time.Time) (bool, error)) error {
	events := make([]unix.EpollEvent, 512)
	for {
		n, err := unix.EpollWait(l.fd, events, 50)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for sockets: %w", err)
		}
		for _, ev := range events[:max(n, 0)] {
			// A descriptor that was closed in this batch may have a new owner already; a
			// look too many costs nothing.
			if h := l.handlers[ev.Fd]; h != nil {
				if err := h.ready(); err != nil {
					return err
				}
			}
		}
		if end, err := over(time.Now()); end || err != nil {
			return err
		}
	}
}

// socket is a blocking TCP connection; it becomes part of a loop when it is prepared.
type socket int

// giveUp bounds what is done with a blocking socket.
const giveUp = 20 * time.Second

func dial(address string) (socket, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return 0, fmt.Errorf("read the address: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make a socket: %w", err)
	}
	limit := unix.NsecToTimeval(int64(giveUp))
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
	)
	if err == nil {
		// On loopback the kernel shakes hands at once, whatever the proxy does.
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
	}
	if err != nil {
		_ = unix.Close(fd)
		return 0, fmt.Errorf("connect to %s: %w", address, err)
	}
	return socket(fd), nil
}

func (s socket) Read(p []byte) (int, error) {
	n, err := unix.Read(int(s), p)
	for errors.Is(err, unix.EINTR) { // a call with a time limit is not begun again by the kernel
		n, err = unix.Read(int(s), p)
	}
	switch {
	case err != nil:
		return 0, err
	case n == 0 && len(p) > 0:
		return 0, net.ErrClosed
	}
	return n, nil
}

func (s socket) Write(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		n, err := unix.Write(int(s), p[total:])
		if err != nil && !errors.Is(err, unix.EINTR) {
			return total, err
		}
		total += max(n, 0)
	}
	return total, nil
}

func (s socket) Close() error { return unix.Close(int(s)) }

// discard takes up to n bytes that nobody will look at, without copying them.
func discard(fd int, buf []byte, n int) (int, error) {
	got, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(pointer(buf)), uintptr(n), unix.MSG_TRUNC, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(got), nil
}

func pointer(buf []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(buf)) }
