package identity

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	defaultPort    = "14747"
	lookupTimeout  = 5 * time.Second
	maxLookupAddrs = 16 // of one name
)

// target is where to join: a host that is looked up each time, and a port.
type target struct{ host, port string }

func (t target) String() string { return net.JoinHostPort(t.host, t.port) }

// parseTarget reads host, host:port, an IP address, or [IPv6]:port.
func parseTarget(addr string) (target, error) {
	t := target{addr, defaultPort}
	bare := strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	if ip, err := netip.ParseAddr(bare); err == nil {
		t.host = ip.String()
	} else if strings.Contains(addr, ":") {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return target{}, fmt.Errorf("address %.80q: use host or host:port", addr)
		}
		t = target{host, port}
	}
	if err := checkAddr(t.String()); err != nil {
		return target{}, fmt.Errorf("address %.80q: %w", addr, err)
	}
	return t, nil
}

// resolve returns the IP:port pairs of a target.
func (j *joiner) resolve(ctx context.Context, t target) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	ips, err := j.cfg.Lookup(ctx, t.host)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", t.host, err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("look up %s: it has no address", t.host)
	}
	var addrs []string
	for _, ip := range ips[:min(len(ips), maxLookupAddrs)] {
		addrs = append(addrs, net.JoinHostPort(ip, t.port))
	}
	return addrs, nil
}
