package upstream

import (
	"net"
	"time"
)

// tcpBelow returns the TCP connection that nc is, or wraps as *tls.Conn does, or nil.
func tcpBelow(nc net.Conn) *net.TCPConn {
	for {
		if tc, ok := nc.(*net.TCPConn); ok {
			return tc
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = w.NetConn()
	}
}

// checkOften makes the kernel ask whether the peer still knows the connection. Many
// probes may go unanswered, for they are not to find out that a host is gone.
func checkOften(nc net.Conn) {
	if tc := tcpBelow(nc); tc != nil {
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 60})
	}
}
