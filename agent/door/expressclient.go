package door

import (
	"bytes"
	"net/netip"

	"github.com/ushercluster/usher/agent/http1"
)

// sender is client in the bytes of a head.
type sender struct {
	addr    clientAddr // of the user
	host    []byte     // as the user typed it
	secure  bool
	trusted bool
}

// identify is the identify of the short way: it sets from, and the request's ID. What a
// trusted proxy says of its users costs a few allocations.
func (x *express) identify() {
	x.from = sender{addr: x.cc.addr(), host: x.q.Host, secure: x.cc.secure, trusted: x.cc.trusts(x.set)}
	x.id = nil
	if x.from.trusted {
		x.believe()
	}
	if x.id == nil {
		x.id = x.d.ids.append(x.idBytes[:0])
	}
}

// believe takes what a trusted proxy says.
func (x *express) believe() {
	f, c := &x.q.Fields, &x.from
	if a := x.forwardedFor(); a.IsValid() {
		c.addr = clientAddr{text: a.AppendTo(x.addrBytes[:0]), addr: a}
	}
	switch proto := lastOf(f, "x-forwarded-proto"); {
	case bytes.EqualFold(proto, []byte("https")):
		c.secure = true
	case bytes.EqualFold(proto, []byte("http")):
		c.secure = false
	}
	if host := lastOf(f, "x-forwarded-host"); len(host) > 0 {
		c.host = host
	}
	if i := f.Find("x-request-id", 0); i >= 0 && f.Find("x-request-id", i+1) < 0 && validRequestID(string(f.Value(i))) {
		x.id = f.Value(i)
	}
}

// forwardedFor is the function of that name, on the bytes of a head.
func (x *express) forwardedFor() netip.Addr {
	var found netip.Addr
	for i := x.q.Len() - 1; i >= 0; i-- {
		if !http1.EqualFold(x.q.Name(i), "x-forwarded-for") {
			continue
		}
		for line, more := x.q.Value(i), true; more; {
			e := line
			at := bytes.LastIndexByte(line, ',')
			if more = at >= 0; more {
				line, e = line[:at], line[at+1:]
			}
			a := hostAddr(string(bytes.TrimSpace(e)))
			if !a.IsValid() {
				return found
			}
			if found = a; !inNetworks(a, x.set.TrustedNetworks) {
				return found
			}
		}
	}
	return found
}

// lastOf is lastElement of the fields of a name, which is in lower case.
func lastOf(f *http1.Fields, name string) []byte {
	for i := f.Len() - 1; i >= 0; i-- {
		if http1.EqualFold(f.Name(i), name) {
			line := f.Value(i)
			return bytes.TrimSpace(line[bytes.LastIndexByte(line, ',')+1:])
		}
	}
	return nil
}

// replaced reports whether a field of a trusted proxy is written anew.
func replaced(name []byte) bool {
	switch len(name) {
	case 6:
		return http1.EqualFold(name, "cookie")
	case 9:
		return http1.EqualFold(name, "x-real-ip")
	case 12:
		return http1.EqualFold(name, "x-request-id")
	case 15:
		return http1.EqualFold(name, "x-forwarded-for")
	case 16:
		return http1.EqualFold(name, "x-forwarded-host")
	case 17:
		return http1.EqualFold(name, "x-forwarded-proto")
	}
	return false
}

// appendForwarded tells who is asking.
func (x *express) appendForwarded(dst []byte) []byte {
	dst = append(dst, "X-Forwarded-For: "...)
	if f := &x.q.Fields; x.from.trusted {
		for i := f.Find("x-forwarded-for", 0); i >= 0; i = f.Find("x-forwarded-for", i+1) {
			if !f.Hop(i) {
				dst = append(append(dst, f.Value(i)...), ", "...)
			}
		}
	}
	dst = append(dst, x.cc.addr().text...)
	if x.from.secure {
		dst = append(dst, "\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: "...)
	} else {
		dst = append(dst, "\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: "...)
	}
	dst = append(dst, x.from.host...)
	dst = append(append(dst, "\r\nX-Real-Ip: "...), x.from.addr.text...)
	dst = append(append(dst, "\r\n"+fieldRequestID+": "...), x.id...)
	return append(dst, '\r', '\n')
}
