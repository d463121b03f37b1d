package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// DialContext implements transport.Network. A cut, an address that no host has,
// and a listener whose queue is full make it wait for ctx; without a deadline it
// fails with ETIMEDOUT after 127 s. Where a host has no listener it fails with
// ECONNREFUSED at once.
func (h *Host) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	timeout := time.NewTimer(connectTimeout)
	defer timeout.Stop()
	if err := h.roundTrip(ctx, network, addr); err != nil {
		return nil, opError("dial", network, nil, nil, err)
	}
	for {
		c, changed, err := h.connect(network, addr)
		if c != nil || err != nil {
			return c.orNil(), err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, opError("dial", network, nil, nil, ctx.Err())
		case <-timeout.C:
			return nil, opError("dial", network, nil, nil, os.NewSyscallError("connect", syscall.ETIMEDOUT))
		}
	}
}

// roundTrip waits as long as the handshake takes.
func (h *Host) roundTrip(ctx context.Context, network, addr string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.net.mu.Lock()
	var delay time.Duration
	if _, to, err := h.route(network, addr); err == nil && to != h {
		delay = 2 * h.net.delay
		for _, p := range [2]path{{h, to}, {to, h}} {
			if late := h.net.lates[p]; late != nil {
				delay += late()
			}
		}
	}
	h.net.mu.Unlock()
	if delay == 0 {
		return nil
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connect makes one try. Without a connection and without an error the caller
// waits until changed is closed and tries again.
func (h *Host) connect(network, addr string) (c *conn, changed <-chan struct{}, err error) {
	n := h.net
	n.mu.Lock()
	defer n.mu.Unlock()
	at, to, err := h.route(network, addr)
	if err != nil {
		return nil, nil, opError("dial", network, nil, at, err)
	}
	if to == nil || n.blocked(h, to) || n.blocked(to, h) {
		return nil, n.changed, nil // an address that nobody has is a black hole too
	}
	l := to.listenerAt(at)
	if l == nil {
		return nil, nil, opError("dial", network, nil, at, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	}
	if len(l.queue) == cap(l.queue) {
		return nil, n.changed, nil
	}
	link := newLink(n, [2]*Host{h, to}, [2]net.Addr{h.source(at), at}, l.network)
	link.set(n.conditions(h, to))
	n.links[link] = true
	l.queue <- link.ends[1] // has room, and only connect sends, under mu
	return link.ends[0], nil, nil
}

// route finds the address that addr means and the host that has it, nil if none.
func (h *Host) route(network, addr string) (net.Addr, *Host, error) {
	switch network {
	case "unix":
		return &net.UnixAddr{Name: addr, Net: "unix"}, h, nil
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, nil, net.UnknownNetworkError(network)
	}
	host, port, err := splitPort(addr)
	if err != nil {
		return nil, nil, err
	}
	ip := loopback4
	if host != "" {
		if ip, err = h.resolve(host); err != nil {
			return nil, nil, err
		}
	}
	if ip.IsUnspecified() {
		ip = loopback4
	}
	if ip.IsLoopback() {
		return tcpAddr(ip, port), h, nil
	}
	return tcpAddr(ip, port), h.net.routes[ip], nil
}

// listenerAt finds who listens at an address: exactly there, or on all addresses.
func (h *Host) listenerAt(addr net.Addr) *listener {
	switch a := addr.(type) {
	case *net.UnixAddr:
		return h.unix[a.Name]
	case *net.TCPAddr:
		at := a.AddrPort()
		if l := h.tcp[netip.AddrPortFrom(at.Addr().Unmap(), at.Port())]; l != nil {
			return l
		}
		return h.tcp[netip.AddrPortFrom(netip.Addr{}, at.Port())]
	}
	return nil
}

// source is the dialler's own address on a connection to addr.
func (h *Host) source(addr net.Addr) net.Addr {
	a, ok := addr.(*net.TCPAddr)
	switch {
	case !ok:
		return &net.UnixAddr{Net: "unix"}
	case !a.IP.IsLoopback():
		return tcpAddr(h.ip, h.freePort())
	case a.IP.To4() == nil:
		return tcpAddr(loopback6, h.freePort())
	}
	return tcpAddr(loopback4, h.freePort())
}
