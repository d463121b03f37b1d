package door

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// client is what the door believes about who is asking.
type client struct {
	peer    netip.Addr // the other end of the connection
	addr    netip.Addr // the user: as a trusted proxy says, else peer
	trusted bool       // peer is in a trusted network
	secure  bool       // the user's own connection is TLS
	host    string     // as the user typed it
}

// identify reads the client from the connection and, where that is trusted, from
// the fields that a proxy set.
func identify(r *http.Request, tls bool, networks []netip.Prefix) client {
	c := client{peer: hostAddr(r.RemoteAddr), secure: tls, host: r.Host}
	c.addr = c.peer
	c.trusted = inNetworks(c.peer, networks)
	if !c.trusted {
		return c
	}
	if a := forwardedFor(r.Header["X-Forwarded-For"], networks); a.IsValid() {
		c.addr = a
	}
	switch proto := lastElement(r.Header["X-Forwarded-Proto"]); {
	case strings.EqualFold(proto, "https"):
		c.secure = true
	case strings.EqualFold(proto, "http"):
		c.secure = false
	}
	if h := lastElement(r.Header["X-Forwarded-Host"]); h != "" {
		c.host = h
	}
	return c
}

// forwardedFor is the last address that no trusted proxy owns: those before it are
// whatever the user cared to write.
func forwardedFor(lines []string, networks []netip.Prefix) netip.Addr {
	var found netip.Addr
	for _, line := range slices.Backward(lines) {
		elements := strings.Split(line, ",")
		for _, e := range slices.Backward(elements) {
			a := hostAddr(strings.TrimSpace(e))
			if !a.IsValid() {
				return found
			}
			found = a
			if !inNetworks(a, networks) {
				return found
			}
		}
	}
	return found
}

func lastElement(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	line := lines[len(lines)-1]
	return strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:])
}

// hostAddr reads an address with or without a port.
func hostAddr(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

func inNetworks(a netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
