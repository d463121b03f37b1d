package door

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// maxOwnCookies is how many cookies of ours the short way looks at.
const maxOwnCookies = 8

// ownCookie is cookie in the bytes of a head.
type ownCookie struct {
	browser bool // it is cookieName
	secure  bool
	value   []byte
}

// cookies notes our cookies. It returns false when there are too many.
func (x *express) cookies() bool {
	for i := x.q.Find("cookie", 0); i >= 0; i = x.q.Find("cookie", i+1) {
		for line, more := x.q.Value(i), true; more; {
			var pair []byte
			pair, line, more = bytes.Cut(line, semicolon)
			c, ok := asOwn(pair)
			if !ok {
				continue
			}
			if x.owns == len(x.own) {
				return false
			}
			x.own[x.owns] = c
			x.owns++
		}
	}
	return x.owns > 0
}

var semicolon = []byte(";") // between the pairs of a Cookie field

// asOwn reads a pair that is ours.
func asOwn(pair []byte) (ownCookie, bool) {
	pair = bytes.Trim(pair, " \t")
	var c ownCookie
	name := pair
	if i := bytes.IndexByte(pair, '='); i >= 0 {
		name, c.value = bytes.TrimRight(pair[:i], " \t"), bytes.Trim(pair[i+1:], " \t\"")
	}
	name, c.secure = bytes.CutPrefix(name, []byte(hostPrefix))
	hash, ok := bytes.CutPrefix(name, []byte(cookieName))
	if !ok || len(hash) == 0 {
		c.browser = ok
		return c, ok
	}
	if len(hash) != 1+documentHash || hash[0] != '-' {
		return c, false
	}
	for _, d := range hash[1:] {
		if (d < '0' || d > '9') && (d < 'a' || d > 'f') {
			return c, false
		}
	}
	return c, true
}

// appendCookies appends what others set, as splitCookies leaves it.
func (x *express) appendCookies(dst []byte) []byte {
	for i := x.q.Find("cookie", 0); i >= 0; i = x.q.Find("cookie", i+1) {
		begin := len(dst)
		dst = append(dst, "Cookie: "...)
		at, first, ours := len(dst), true, false
		for line, more := x.q.Value(i), true; more; {
			var pair []byte
			pair, line, more = bytes.Cut(line, semicolon)
			if _, ok := asOwn(pair); ok {
				ours = true
				continue
			}
			if first {
				pair = bytes.TrimLeft(pair, " \t")
			} else {
				dst = append(dst, ';')
			}
			dst = append(dst, pair...)
			first = false
		}
		switch {
		case !ours: // as it came
			dst = append(append(dst[:at], x.q.Value(i)...), '\r', '\n')
		case len(dst) == at:
			dst = dst[:begin]
		default:
			dst = append(dst, '\r', '\n')
		}
	}
	return dst
}

// headToEngine writes the head for an engine beside this agent.
func (x *express) headToEngine(dst []byte) []byte {
	dst = http1.AppendRequestLine(dst, x.q)
	dst = x.appendHost(dst)
	dst = x.appendFields(dst, false)
	dst = x.appendCookies(dst)
	dst = x.appendForwarded(dst)
	dst = hex.AppendEncode(append(dst, fieldSession+": "...), x.binding.session[:8])
	dst = appendText(dst, "\r\n"+fieldDoor+": ", x.d.nodeName(x.d.cfg.Self))
	return x.appendEnd(dst)
}

// appendHost writes the Host of an engine beside this agent.
func (x *express) appendHost(dst []byte) []byte {
	dst = append(dst, "Host: "...)
	if host := x.engine.HostHeader(); host != "" {
		dst = append(dst, host...)
	} else {
		dst = append(dst, x.q.Host...)
	}
	return append(dst, '\r', '\n')
}

// headToOwner writes the head for the agent beside the engine, with the claim.
func (x *express) headToOwner(dst []byte) []byte {
	dst = http1.AppendRequestLine(dst, x.q)
	dst = append(append(append(dst, "Host: "...), x.q.Host...), '\r', '\n')
	dst = x.appendFields(dst, false)
	dst = x.appendCookies(dst)
	dst = x.appendForwarded(dst)
	dst = hex.AppendEncode(append(dst, fieldSession+": "...), x.binding.session[:])
	dst = appendText(dst, "\r\n"+fieldEngine+": ", x.binding.engine.Name())
	dst = appendText(dst, "\r\n"+fieldDoor+": ", x.d.nodeName(x.d.cfg.Self))
	if age := int64(x.d.age(x.binding.issued) / time.Second); age > 0 {
		dst = strconv.AppendInt(append(dst, "\r\n"+fieldAge+": "...), age, 10)
	}
	if len(x.document) > 0 {
		dst = appendQueryEscaped(append(dst, "\r\n"+fieldDocument+": "...), x.document)
	}
	dst = append(append(dst, "\r\n"+fieldClient+": "...), x.from.addr.text...)
	return x.appendEnd(dst)
}

// headFromAgent writes the head for an engine beside this agent, of a request that
// another one brings.
func (x *express) headFromAgent(dst []byte) []byte {
	dst = http1.AppendRequestLine(dst, x.q)
	dst = x.appendHost(dst)
	dst = x.appendFields(dst, true)
	dst = hex.AppendEncode(append(dst, fieldSession+": "...), x.claim.session[:8])
	if len(x.claim.door) > 0 {
		dst = append(append(dst, "\r\n"+fieldDoor+": "...), x.claim.door...)
	}
	return x.appendEnd(dst)
}

// appendEnd ends the last field line, and the head, with the length of the body as
// upstream.Request has it.
func (x *express) appendEnd(dst []byte) []byte {
	dst = append(dst, '\r', '\n')
	switch n := x.q.ContentLength; {
	case n > 0:
		dst = http1.AppendLength(dst, n)
	case saysEmpty(x.q.Method):
		dst = http1.AppendLength(dst, 0)
	}
	return http1.AppendEnd(dst)
}

// saysEmpty is for methods that have a content most of the time (RFC 9110 8.6).
func saysEmpty(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func appendText(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return append(append(dst, name...), value...)
}

// appendFields appends the fields that go on to the other side as they came. Cookies do
// when believed says that an agent sends them.
func (x *express) appendFields(dst []byte, believed bool) []byte {
	f := &x.q.Fields
	for i := range f.Len() {
		if f.Hop(i) {
			continue
		}
		switch name := f.Name(i); {
		case ownField(name), !believed && x.from.trusted && replaced(name), !believed && !x.from.trusted && !mayCome(name):
			continue
		}
		dst = f.AppendTo(dst, i)
	}
	return dst
}

// ownField reports whether a field is written by us, if at all.
func ownField(name []byte) bool {
	switch {
	case len(name) == 4 && http1.EqualFold(name, "host"),
		len(name) == 7 && http1.EqualFold(name, "trailer"),
		len(name) == 14 && http1.EqualFold(name, "content-length"):
		return true
	}
	return proxyAuth(name) || foldedPrefix(name, "x-usher-")
}

// proxyAuth reports whether a field is for a proxy that we are not.
func proxyAuth(name []byte) bool {
	if !foldedPrefix(name, "proxy-a") {
		return false
	}
	return http1.EqualFold(name, "proxy-authorization") || http1.EqualFold(name, "proxy-authenticate") ||
		http1.EqualFold(name, "proxy-authentication-info")
}

// mayCome is mayPass, for what is not trusted and no cookie.
func mayCome(name []byte) bool {
	switch len(name) {
	case 6:
		if http1.EqualFold(name, "cookie") {
			return false
		}
	case 9:
		if http1.EqualFold(name, "forwarded") || http1.EqualFold(name, "x-real-ip") {
			return false
		}
	case 12:
		if http1.EqualFold(name, "x-request-id") {
			return false
		}
	}
	return !foldedPrefix(name, "x-forwarded-") && bytes.IndexByte(name, '_') < 0
}

// clientAddr is an address in the two forms that are needed of it; either may be missing.
type clientAddr struct {
	text []byte
	addr netip.Addr
}

// parse is the address, invalid when the text is none.
func (a clientAddr) parse() netip.Addr {
	if a.addr.IsValid() {
		return a.addr
	}
	addr, err := netip.ParseAddr(string(a.text))
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

// is reports whether it is that address.
func (a clientAddr) is(other netip.Addr) bool {
	if a.addr.IsValid() {
		return a.addr == other
	}
	var text [64]byte
	return bytes.Equal(other.AppendTo(text[:0]), a.text)
}

// findDocument finds the document that the request names. It returns false when that
// takes more than to copy it.
func (x *express) findDocument() bool {
	for i := range x.set.Session.Documents {
		p := &x.set.Session.Documents[i]
		key, ok := p.find(x.scratch[:0], x.q)
		if cap(key) > cap(x.scratch) {
			x.scratch = key
		}
		if !ok || len(key) > maxDocumentKey {
			return false
		}
		if len(key) > 0 {
			x.document = key
			return true
		}
	}
	return true
}

// find is match on the bytes of a head: it appends the key to dst, which is empty. It
// returns false for what it leaves to match.
func (p *Pattern) find(dst []byte, q *http1.Request) ([]byte, bool) {
	switch p.kind {
	case inQuery:
		return p.findInQuery(dst, q.Query)
	case inHeader:
		for i := range q.Len() {
			if bytes.EqualFold(q.Name(i), []byte(p.name)) {
				return append(dst, bytes.TrimSpace(q.Value(i))...), true
			}
		}
		return dst, true
	}
	at, length := 0, 0 // of the key in dst
	rest, more := q.Path[1:], true
	for i, want := range p.segments {
		if !more {
			return dst[:0], true
		}
		var seg []byte
		if seg, rest, more = bytes.Cut(rest, []byte("/")); want == "*" {
			continue
		}
		begin := len(dst)
		dst = appendUnescaped(dst, seg, false)
		switch {
		case i == p.at:
			at, length = begin, len(dst)-begin
		case string(dst[begin:]) != want:
			return dst[:0], true
		default:
			dst = dst[:begin]
		}
	}
	return dst[at : at+length], true
}

func (p *Pattern) findInQuery(dst, query []byte) ([]byte, bool) {
	for len(query) > 0 {
		var pair []byte
		pair, query, _ = bytes.Cut(query, []byte("&"))
		k, v, _ := bytes.Cut(pair, []byte("="))
		if bytes.ContainsAny(k, "%+;") || bytes.ContainsAny(v, ";") {
			return dst, false
		}
		if string(k) != p.name {
			continue
		}
		if !wellEscaped(v) {
			return dst, false
		}
		if dst = appendUnescaped(dst, v, true); len(dst) > 0 {
			return dst, true
		}
		return dst, false
	}
	return dst, true
}

// wellEscaped reports whether two hexadecimal digits follow each "%".
func wellEscaped(b []byte) bool {
	for i := range b {
		if b[i] == '%' && (i+2 >= len(b) || !isHex(b[i+1]) || !isHex(b[i+2])) {
			return false
		}
	}
	return true
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// appendUnescaped appends b without its percent-encoding, which is well-formed.
func appendUnescaped(dst, b []byte, query bool) []byte {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '%':
			dst = append(dst, unhexPair(b[i+1:]))
			i += 2
		case c == '+' && query:
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// appendQueryEscaped is url.QueryEscape.
func appendQueryEscaped(dst, b []byte) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.', c == '~':
			dst = append(dst, c)
		case c == ' ':
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}
