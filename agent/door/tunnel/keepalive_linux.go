package tunnel

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// userTimeout is how long sent data may stay unacknowledged.
const userTimeout = 60 * time.Second

// keepAlive makes the kernel find out that a peer is gone, also while data is on
// its way. It is best effort: a tunnel works without.
func keepAlive(nc net.Conn) {
	tc := tcpBelow(nc)
	if tc == nil {
		return
	}
	_ = tc.SetKeepAliveConfig(keepAliveConfig())
	raw, err := tc.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}
