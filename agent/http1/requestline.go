package http1

import "bytes"

// requestLine is where the parts of a request line stand (RFC 9112 3).
type requestLine struct {
	method, path, query, scheme, host place
	authority                         place // of a target in absolute-form
	asked                             bool  // there is a "?"
	absolute                          bool
}

// place is a part of a head.
type place struct{ start, end uint16 }

func (p place) in(b []byte) []byte { return b[p.start:p.end:p.end] }

func at(start, end int) place { return place{uint16(start), uint16(end)} }

// requestLine reads on in the request line. It reports whether it needs more.
func (r *Request) requestLine(b []byte, longest int) (more bool, err error) {
	for {
		switch r.phase {
		case atStart:
			more, err = r.emptyStart(b)
		case inMethod:
			more, err = r.method(b)
		case inTarget:
			more, err = r.target(b, longest)
		case inVersion:
			if more, err = r.endLine(b); more || err != nil {
				return more, err
			}
			return false, r.splitTarget(b, int(r.start.path.start), int(r.start.path.end))
		default:
			return false, nil
		}
		if more || err != nil {
			return more, err
		}
	}
}

// emptyStart skips one empty line.
func (r *Request) emptyStart(b []byte) (more bool, err error) {
	switch {
	case len(b) == 0, len(b) == 1 && b[0] == '\r':
		return true, nil
	case b[0] == '\r' && b[1] != '\n':
		return false, bad(0, "bare CR before the request line")
	case b[0] == '\r':
		r.at = 2
	}
	r.start.method.start, r.phase = uint16(r.at), inMethod
	return false, nil
}

func (r *Request) method(b []byte) (more bool, err error) {
	i, start := r.at, int(r.start.method.start)
	end := min(len(b), start+maxMethod+1)
	for i < end && lower[b[i]] != 0 {
		i++
	}
	r.at = i
	switch {
	case i-start > maxMethod:
		return false, fault(501, start, "method is not known here")
	case i == len(b):
		return true, nil
	case i == start:
		return false, bad(i, "request line does not begin with a method")
	case b[i] != ' ':
		return false, bad(i, "character that is not allowed in a method")
	}
	switch m := b[start:i]; string(m) {
	case "CONNECT", "TRACE":
		return false, fault(405, start, "method is not allowed")
	}
	r.start.method.end, r.start.path.start = uint16(i), uint16(i+1)
	r.at, r.phase = i+1, inTarget
	return false, nil
}

func (r *Request) target(b []byte, longest int) (more bool, err error) {
	start := int(r.start.path.start)
	i := skipVisible(b[:min(len(b), start+longest+1)], r.at)
	r.at = i
	switch {
	case i-start > longest:
		return false, fault(414, start, "target is too long")
	case i == len(b):
		return true, nil
	case i == start:
		return false, bad(i, "no target where one should be")
	case b[i] == '\r' || b[i] == '\n':
		return false, bad(i, "request line without a version")
	case b[i] != ' ':
		return false, bad(i, "character that is not allowed in a target")
	}
	r.start.path.end = uint16(i)
	r.at, r.phase = i+1, inVersion
	return false, nil
}

// splitTarget takes a whole target apart, when the version is known to be one of ours.
func (r *Request) splitTarget(b []byte, start, end int) error {
	path := start
	if b[start] != '/' {
		var err error
		if path, err = r.splitAbsolute(b, start, end); err != nil {
			return err
		}
	}
	t := b[path:end]
	if i := bytes.IndexByte(t, '#'); i >= 0 {
		return bad(path+i, "fragment in a target")
	}
	r.start.query = at(end, end)
	if i := bytes.IndexByte(t, '?'); i >= 0 {
		r.start.query = at(path+i+1, end)
		r.start.asked = true
		t = t[:i]
	}
	if i := badEscape(t); i >= 0 {
		return bad(path+i, "broken percent-encoding in a path")
	}
	if r.start.path = at(path, path+len(t)); len(t) == 0 {
		// "http://a" and "http://a?q" mean the path "/" (RFC 9110 4.2.3): the one that
		// begins the authority serves.
		slash := int(r.start.authority.start) - 1
		r.start.path = at(slash, slash+1)
	}
	return nil
}

// splitAbsolute takes scheme and authority off a target in absolute-form (RFC 9112
// 3.2.2), and gives the index behind them.
func (r *Request) splitAbsolute(b []byte, start, end int) (int, error) {
	t := b[start:end]
	n := bytes.IndexByte(t, ':')
	switch {
	case n < 0, !EqualFold(t[:n], "http") && !EqualFold(t[:n], "https"), !bytes.HasPrefix(t[n:], []byte("://")):
		return 0, bad(start, "target does not begin with a slash")
	}
	authority := start + n + len("://")
	path := authority
	for path < end && b[path] != '/' && b[path] != '?' && b[path] != '#' {
		path++
	}
	r.start.absolute = true
	r.start.scheme, r.start.authority = at(start, start+n), at(authority, path)
	return path, nil
}

// badEscape gives the index of a "%" that no two hexadecimal digits follow, or -1.
func badEscape(t []byte) int {
	for i := 0; ; i += 3 {
		n := bytes.IndexByte(t[i:], '%')
		if n < 0 {
			return -1
		}
		if i += n; i+2 >= len(t) || unhex(t[i+1]) > 15 || unhex(t[i+2]) > 15 {
			return i
		}
	}
}

// unhex gives more than 15 for what is no hexadecimal digit.
func unhex(c byte) byte {
	switch {
	case isDigit(c):
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
