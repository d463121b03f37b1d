package http1

import "math"

// control is what the fields say that steer a message: indices of the first field of
// a name, or -1, and how many there are.
type control struct {
	host, length, coding, expect, trailer      int
	hosts, lengths, codings, expects, trailers int

	lengthsDiffer bool
	close         bool // from the lists in Connection
	keepAlive     bool
	upgrade       bool
	websocket     bool // from the lists in Upgrade
}

// read collects. Nothing is judged here.
func (c *control) read(f *Fields) {
	c.host, c.length, c.coding, c.expect, c.trailer = -1, -1, -1, -1, -1
	for i := range f.spans {
		s := &f.spans[i]
		switch s.colon - s.name {
		case 4:
			f.count(i, "host", &c.host, &c.hosts)
		case 6:
			f.count(i, "expect", &c.expect, &c.expects)
		case 7:
			if f.count(i, "trailer", &c.trailer, &c.trailers); EqualFold(f.Name(i), "upgrade") {
				c.websocket = c.websocket || HasToken(f.Value(i), "websocket")
			}
		case 10:
			if EqualFold(f.Name(i), "connection") {
				c.connection(f, f.Value(i))
			}
		case 14:
			f.count(i, "content-length", &c.length, &c.lengths)
			if c.lengths > 1 && string(f.Value(i)) != string(f.Value(c.length)) {
				c.lengthsDiffer = c.lengthsDiffer || EqualFold(f.Name(i), "content-length")
			}
		case 17:
			f.count(i, "transfer-encoding", &c.coding, &c.codings)
		}
	}
}

func (f *Fields) count(i int, name string, first, n *int) {
	if EqualFold(f.Name(i), name) {
		if *n++; *n == 1 {
			*first = i
		}
	}
}

func (c *control) connection(f *Fields, list []byte) {
	for len(list) > 0 {
		var e []byte
		e, list = element(list)
		switch {
		case EqualFold(e, "keep-alive"):
			c.keepAlive = true
		case EqualFold(e, "close"):
			c.close = true
		case EqualFold(e, "upgrade"):
			c.upgrade = true
		case len(e) > 0:
			f.named = true
		}
	}
}

// stays reports whether the connection may carry another message (RFC 9112 9.3).
func (c *control) stays(minor uint8) bool {
	return !c.close && (minor > 0 || c.keepAlive)
}

// contentLength is -1 if there is none. Whether it is repeated was judged before.
func (c *control) contentLength(f *Fields) (int64, error) {
	if c.lengths == 0 {
		return -1, nil
	}
	v, at := f.Value(c.length), f.offset(c.length)
	if len(v) == 0 {
		return 0, bad(at, "Content-Length is empty")
	}
	n, large := int64(0), false
	for i, d := range v {
		if !isDigit(d) {
			return 0, bad(at+i, "Content-Length is not a number")
		}
		if large = large || n > (math.MaxInt64-int64(d-'0'))/10; !large {
			n = n*10 + int64(d-'0')
		}
	}
	if large {
		return 0, fault(413, at, "Content-Length is too large")
	}
	return n, nil
}

// chunked reports whether the body is; anything that two readers could take differently
// is refused (RFC 9112 6.1, 6.3).
func (c *control) chunked(f *Fields, minor uint8) (bool, error) {
	if err := c.announced(f); err != nil || c.codings == 0 {
		return false, err
	}
	v, at := f.Value(c.coding), f.offset(c.coding)
	switch {
	case c.lengths > 0:
		return false, bad(at, "Transfer-Encoding with Content-Length")
	case minor == 0:
		return false, bad(at, "Transfer-Encoding in HTTP/1.0")
	case c.codings > 1:
		return false, bad(at, "Transfer-Encoding is repeated")
	case EqualFold(v, "chunked"):
		return true, nil
	case codedBefore(v):
		return false, fault(501, at, "Transfer-Encoding is not known here")
	}
	return false, bad(at, "Transfer-Encoding is not exactly chunked")
}

// codedBefore reports whether v is a list of codings that ends with chunked, and has it there
// alone: the message has an end, and is only not understood (RFC 9112 6.1). Of all others nobody
// knows the end (6.3).
func codedBefore(v []byte) bool {
	for n := 0; ; n++ {
		e, rest := element(v)
		last := EqualFold(e, "chunked")
		if len(rest) == 0 || last {
			return last && n > 0 && len(rest) == 0
		}
		if !isToken(e) {
			return false
		}
		v = rest
	}
}

// announced refuses a Trailer that promises fields of framing: it can only be meant to
// deceive somebody.
func (c *control) announced(f *Fields) error {
	if c.trailers == 0 {
		return nil
	}
	for i := f.Find("trailer", 0); i >= 0; i = f.Find("trailer", i+1) {
		for list := f.Value(i); len(list) > 0; {
			var e []byte
			e, list = element(list)
			if EqualFold(e, "content-length") || EqualFold(e, "transfer-encoding") || EqualFold(e, "trailer") {
				return bad(f.offset(i), "Trailer announces a field of framing")
			}
		}
	}
	return nil
}

// offset is where the value of the i-th field begins.
func (f *Fields) offset(i int) int { return int(f.spans[i].value) }
