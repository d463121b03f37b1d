package transport

import (
	"context"
	"net"
)

// Network is where all sockets of an agent come from: the cluster port, the
// door, the admin API, connections to engines, and name resolution. Production
// uses System; tests use memnet, so that a whole cluster fits into fake time.
type Network interface {
	// Listen is net.ListenConfig.Listen: network is "tcp" or "unix".
	Listen(ctx context.Context, network, addr string) (net.Listener, error)
	// DialContext is net.Dialer.DialContext.
	DialContext(ctx context.Context, network, addr string) (net.Conn, error)
	// LookupHost is net.Resolver.LookupHost; an IP address resolves to itself.
	LookupHost(ctx context.Context, host string) ([]string, error)
}

// System is the operating system's network.
type System struct{}

// Listen implements Network.
func (System) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	return lc.Listen(ctx, network, addr)
}

// DialContext implements Network.
func (System) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, addr)
}

// LookupHost implements Network.
func (System) LookupHost(ctx context.Context, host string) ([]string, error) {
	return net.DefaultResolver.LookupHost(ctx, host)
}
