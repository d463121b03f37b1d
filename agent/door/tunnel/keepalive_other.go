//go:build !linux

package tunnel

import "net"

// keepAlive makes the kernel find out that a peer is gone. It is best effort: a
// tunnel works without.
func keepAlive(nc net.Conn) {
	if tc := tcpBelow(nc); tc != nil {
		_ = tc.SetKeepAliveConfig(keepAliveConfig())
	}
}
