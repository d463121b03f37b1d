package memnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The range that port 0 and outgoing connections draw from.
const (
	firstEphemeral = 32768
	lastEphemeral  = 60999
)

// connectTimeout is when a dial gives up without a deadline of its own: six
// retransmissions of a SYN, as on Linux.
const connectTimeout = 127 * time.Second

var (
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// Host is one machine on a Net. It implements transport.Network.
type Host struct {
	net  *Net
	name string

	// Guarded by net.mu.
	ip        netip.Addr
	isolated  bool
	tcp       map[netip.AddrPort]*listener // the zero address is the wildcard
	unix      map[string]*listener
	ephemeral uint16
}

// Name is what the host was added as.
func (h *Host) Name() string { return h.name }

// IP is the host's address now.
func (h *Host) IP() string {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	return h.ip.String()
}

// SetIP moves the host to another address: listeners on all addresses, new
// listeners and new connections use it, a listener on the old address is reached
// no more, connections stay. If another host has the address it loses it, so
// that two hosts may swap.
func (h *Host) SetIP(ip string) {
	addr := netip.MustParseAddr(ip).Unmap()
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.routes[h.ip] == h {
		delete(h.net.routes, h.ip)
	}
	h.ip = addr
	h.net.routes[addr] = h
}

// Listen implements transport.Network. A TCP address is "IP:port" with an address
// of this host or loopback, or ":port" for all of them; port 0 takes a free one.
// A unix socket is known on this host only, by its path; no file is made.
func (h *Host) Listen(ctx context.Context, network, addr string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, opError("listen", network, nil, nil, err)
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	switch network {
	case "tcp", "tcp4", "tcp6":
		return h.listenTCP(addr)
	case "unix":
		return h.listenUnix(addr)
	}
	return nil, opError("listen", network, nil, nil, net.UnknownNetworkError(network))
}

func (h *Host) listenTCP(addr string) (net.Listener, error) {
	host, port, err := splitPort(addr)
	if err != nil {
		return nil, opError("listen", "tcp", nil, nil, err)
	}
	var ip netip.Addr // stays zero for the wildcard
	if host != "" {
		if ip, err = h.resolve(host); err != nil {
			return nil, opError("listen", "tcp", nil, nil, err)
		}
		if ip.IsUnspecified() {
			ip = netip.Addr{}
		}
	}
	if ip.IsValid() && !ip.IsLoopback() && ip != h.ip {
		return nil, opError("listen", "tcp", nil, tcpAddr(ip, port), os.NewSyscallError("bind", syscall.EADDRNOTAVAIL))
	}
	if port == 0 {
		port = h.freePort()
	}
	if port == 0 || h.taken(ip, port) {
		return nil, opError("listen", "tcp", nil, tcpAddr(ip, port), os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	key := netip.AddrPortFrom(ip, port)
	l := newListener(h, "tcp", tcpAddr(ip, port))
	l.remove = func() { delete(h.tcp, key) }
	h.tcp[key] = l
	return l, nil
}

func (h *Host) listenUnix(name string) (net.Listener, error) {
	addr := &net.UnixAddr{Name: name, Net: "unix"}
	if h.unix[name] != nil {
		return nil, opError("listen", "unix", nil, addr, os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := newListener(h, "unix", addr)
	l.remove = func() { delete(h.unix, name) }
	h.unix[name] = l
	return l, nil
}

// taken reports whether a listener on ip and port would collide with another.
func (h *Host) taken(ip netip.Addr, port uint16) bool {
	for key := range h.tcp {
		if key.Port() == port && (!ip.IsValid() || !key.Addr().IsValid() || key.Addr() == ip) {
			return true
		}
	}
	return false
}

// freePort draws the next port without a listener, 0 when there is none.
func (h *Host) freePort() uint16 {
	for range lastEphemeral - firstEphemeral + 1 {
		port := h.ephemeral
		if h.ephemeral++; h.ephemeral > lastEphemeral {
			h.ephemeral = firstEphemeral
		}
		if !h.taken(netip.Addr{}, port) {
			return port
		}
	}
	return 0
}

// LookupHost implements transport.Network: the hosts of the Net by name,
// "localhost", and addresses, which resolve to themselves.
func (h *Host) LookupHost(ctx context.Context, host string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: host, UnwrapErr: err, IsTimeout: ctx.Err() == context.DeadlineExceeded}
	}
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	ip, err := h.resolve(host)
	if err != nil {
		return nil, err
	}
	return []string{ip.String()}, nil
}

func (h *Host) resolve(host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap(), nil
	}
	if host == "localhost" {
		return loopback4, nil
	}
	if known := h.net.hosts[host]; known != nil {
		return known.ip, nil
	}
	return netip.Addr{}, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func splitPort(addr string) (string, uint16, error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, &net.AddrError{Err: "invalid port", Addr: addr}
	}
	return host, uint16(port), nil
}

// tcpAddr is how package net shows an address; the wildcard is "[::]".
func tcpAddr(ip netip.Addr, port uint16) *net.TCPAddr {
	if !ip.IsValid() {
		return &net.TCPAddr{IP: net.IPv6unspecified, Port: int(port)}
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, port))
}
