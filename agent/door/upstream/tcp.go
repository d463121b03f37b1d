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

func keepAliveConfig() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
}
