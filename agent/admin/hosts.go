package admin

import (
	"net"
	"net/netip"
	"strings"
)

// hostSet is every name by which a TCP listener may be called.
func hostSet(names []string) map[string]bool {
	out := map[string]bool{"localhost": true, "127.0.0.1": true, "::1": true}
	for _, n := range names {
		if h := hostOf(n); h != "" {
			out[h] = true
		}
	}
	return out
}

// hostOf is a Host header, or a configured name, without port, in one spelling.
func hostOf(s string) string {
	host := s
	if h, _, err := net.SplitHostPort(s); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
