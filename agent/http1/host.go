package http1

import (
	"bytes"
	"net/netip"
)

// checkHost follows RFC 9112 3.2: one Host in HTTP/1.1, and what is in it a host. A target
// in absolute-form must agree with it, so that nobody can follow the one and somebody
// else the other.
func (r *Request) checkHost(c *control) error {
	switch {
	case c.hosts > 1:
		return bad(r.offset(r.Find("host", c.host+1)), "Host is repeated")
	case c.hosts == 0 && r.Minor > 0:
		return bad(0, "Host is missing")
	case c.hosts == 0 && r.start.absolute:
		return bad(int(r.start.authority.start), "target in absolute-form without Host")
	case c.hosts == 0:
		return nil
	}
	h := r.Value(c.host)
	if !validHost(h) {
		return bad(r.offset(c.host), "Host is not a host with an optional port")
	}
	if r.start.absolute && !bytes.EqualFold(h, r.start.authority.in(r.buf)) { // h is ASCII
		return bad(int(r.start.authority.start), "target names another host than Host")
	}
	s := r.spans[c.host]
	r.start.host = place{s.value, s.end}
	r.Host = h
	return nil
}

// validHost is RFC 9110 7.2 without what no host on the web has: an empty name,
// percent-encodings and the punctuation of sub-delims, which only serve to confuse who
// reads the name later.
func validHost(h []byte) bool {
	if len(h) == 0 {
		return false
	}
	if h[0] == '[' {
		i := bytes.IndexByte(h, ']')
		return i > 0 && validIPv6(h[1:i]) && validPort(h[i+1:])
	}
	i := 0
	for i < len(h) && isHostByte(h[i]) {
		i++
	}
	return i > 0 && validPort(h[i:])
}

// isHostByte is "unreserved" of RFC 3986 2.3.
func isHostByte(c byte) bool {
	return lower[c] >= 'a' && lower[c] <= 'z' || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '~'
}

func validIPv6(h []byte) bool {
	if bytes.IndexByte(h, '%') >= 0 {
		return false
	}
	a, err := netip.ParseAddr(string(h)) // allocates, and is rare
	return err == nil && a.Is6()
}

// validPort is that with its colon, or nothing.
func validPort(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	if p[0] != ':' || len(p) > len(":65535") {
		return false
	}
	n := 0
	for _, d := range p[1:] {
		if !isDigit(d) {
			return false
		}
		n = n*10 + int(d-'0')
	}
	return n <= 65535
}
