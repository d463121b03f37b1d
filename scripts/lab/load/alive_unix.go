//go:build unix

package load

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// alive is false when the other end has closed the connection while nobody looked, as a
// browser notices before it sends a request. It does not wait.
func alive(c net.Conn) bool {
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		_, _, err := unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		ok = err == unix.EAGAIN // an end, a reset, or words that nobody asked for
	})
	return err == nil && ok
}
