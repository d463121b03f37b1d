//go:build unix

package upstream

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// waitReadable returns when a read would not block.
func waitReadable(t *testing.T, nc net.Conn) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	fds := make([]unix.PollFd, 1)
	if err := raw.Read(func(fd uintptr) bool {
		fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
		n, err := unix.Poll(fds, 0)
		return n != 0 || err != nil
	}); err != nil {
		t.Fatal(err)
	}
}
