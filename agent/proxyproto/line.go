package proxyproto

import (
	"bytes"
	"net/netip"
)

// lineStart is what a header of version 1 begins with.
const lineStart = "PROXY "

// family is a word of version 1 for what is passed on.
type family struct {
	word string
	is   func(netip.Addr) bool
	// least are the lengths of the shortest fields: two addresses and two ports.
	least [4]int
}

func families() [2]family {
	return [2]family{
		{"TCP4 ", netip.Addr.Is4, [4]int{len("0.0.0.0"), len("0.0.0.0"), 1, 1}},
		{"TCP6 ", func(a netip.Addr) bool { return a.Is6() && a.Zone() == "" }, [4]int{len("::"), len("::"), 1, 1}},
	}
}

func badLine(at int, reason string) error { return &Error{Version: 1, Reason: reason, Offset: at} }

// parseLine is parse of version 1, once the shortest line is there (2.1).
func parseLine(b []byte) (h Header, missing int, err error) {
	line, whole, err := cutLine(b)
	if err != nil {
		return Header{}, 0, err
	}
	word := line[len(lineStart):]
	if begins(word, "UNKNOWN") && len(word) >= len("UNKNOWN") {
		return unknown(b, line, whole)
	}
	for _, f := range families() {
		if len(word) < len(f.word) || !begins(word, f.word) {
			continue
		}
		if whole {
			h, err = f.parse(line)
			return h, 0, err
		}
		missing, err = f.missing(b)
		return Header{}, missing, err
	}
	return Header{}, 0, badLine(len(lineStart), "protocol that is not TCP4, TCP6 or UNKNOWN")
}

// cutLine takes the end off a line; whole is false while it has none, or half of it.
func cutLine(b []byte) (line []byte, whole bool, err error) {
	i := bytes.IndexAny(b, "\r\n")
	switch {
	case i < 0 && len(b) >= MaxLine, i+2 > MaxLine:
		return nil, false, badLine(MaxLine, "no end of the line")
	case i < 0:
		return b, false, nil
	case b[i] == '\n', i+1 < len(b) && b[i+1] != '\n':
		return nil, false, badLine(i, "CR or LF alone")
	}
	return b[:i], i+1 < len(b), nil
}

// unknown takes a line of a connection whose ends the proxy cannot name. Whatever else it
// holds is ignored.
func unknown(b, line []byte, whole bool) (h Header, missing int, err error) {
	if rest := line[len(lineStart+"UNKNOWN"):]; len(rest) > 0 && rest[0] != ' ' {
		return Header{}, 0, badLine(len(lineStart), "protocol that is not TCP4, TCP6 or UNKNOWN")
	}
	switch {
	case whole:
		return Header{}, 0, nil
	case len(line) < len(b): // the CR is there
		return Header{}, 1, nil
	}
	return Header{}, 2, nil // more than the line may have is seen when they are there
}

// missing is how many bytes at least come yet: what the field at hand needs, the shortest
// of those behind it, and the line's end.
func (f family) missing(b []byte) (int, error) {
	if b[len(b)-1] == '\r' {
		return 1, nil
	}
	fields := b[len(lineStart)+len(f.word):]
	at := bytes.Count(fields, []byte{' '})
	if at >= len(f.least) {
		return 0, badLine(len(b), "more than two addresses and two ports")
	}
	n := max(f.least[at]-(len(fields)-bytes.LastIndexByte(fields, ' ')-1), 0) + len("\r\n")
	for _, least := range f.least[at+1:] {
		n += 1 + least
	}
	if len(b)+n > MaxLine {
		return 0, badLine(len(b), "no end of the line")
	}
	return n, nil
}

// parse reads a whole line, without its end.
func (f family) parse(line []byte) (Header, error) {
	at := len(lineStart) + len(f.word)
	var field [4][]byte
	rest := line[at:]
	for i := range field {
		var more bool
		if field[i], rest, more = bytes.Cut(rest, []byte{' '}); more != (i < len(field)-1) {
			return Header{}, badLine(at, "not two addresses and two ports with one space between them")
		}
	}
	var addrs [2]netip.Addr
	var ports [2]uint16
	for i := range 2 {
		var err error
		if addrs[i], err = netip.ParseAddr(string(field[i])); err != nil || !f.is(addrs[i]) {
			return Header{}, badLine(at, "address that is none of its family")
		}
		at += len(field[i]) + 1
	}
	for i := range 2 {
		var ok bool
		if ports[i], ok = parsePort(field[2+i]); !ok {
			return Header{}, badLine(at, "port that is none")
		}
		at += len(field[2+i]) + 1
	}
	return Header{
		Source:      netip.AddrPortFrom(addrs[0].Unmap(), ports[0]),
		Destination: netip.AddrPortFrom(addrs[1].Unmap(), ports[1]),
	}, nil
}

// parsePort reads 0 to 65535 in decimal, without a sign or zeros in front.
func parsePort(b []byte) (uint16, bool) {
	if len(b) == 0 || len(b) > 5 || b[0] == '0' && len(b) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return uint16(n & 0xffff), n <= 0xffff
}
