package http1

// Request is the head of a request and what follows from it. Use one value for many
// heads: Reset, then Parse until the head is complete. The zero value is ready. The
// slices point into the buffer of the last Parse and hold as long as that is unchanged.
// It is for one goroutine at a time.
type Request struct {
	Method []byte // a token in the case in which it came; never CONNECT, TRACE
	Path   []byte // raw, begins with "/"; percent-encodings are well-formed, but not decoded
	Query  []byte // raw, without "?"; nil when there is no "?"
	Host   []byte // name or address with an optional port; nil in HTTP/1.0 without Host
	Scheme []byte // of a target in absolute-form, http or https in any case; nil in origin-form
	Minor  uint8  // of the version: 0 or 1

	ContentLength int64 // -1 when there is no Content-Length; write it with AppendLength, the field may have zeros before it
	Chunked       bool  // the body is; then ContentLength is -1
	KeepAlive     bool  // the client allows another request on the connection
	Continue      bool  // the client waits for a 100 before it sends its body
	WebSocket     bool  // an upgrade to websocket is asked for; method, version and key are not looked at

	Fields
	section
	start requestLine
}

// Reset forgets the head, so that another can be parsed. It keeps memory for fields.
func (r *Request) Reset() {
	*r = Request{Fields: Fields{spans: r.spans[:0]}}
}

// Parse reads a head from b, which begins where the head does. It returns
//
//   - the length of the head, when it is complete. Bytes behind it were not looked at.
//   - 0 and no error, when more is needed: call it again with a b that begins with the
//     same bytes (it may be elsewhere in memory) and has more of them. What was read is
//     not read again.
//   - an *Error. It is the same however the bytes were cut, and comes as soon as the
//     bytes that cause it have come; what the form of the target is comes with its line,
//     and what fields mean when the head is complete.
//
// The members are set, and Fields can be used, only when the head is complete. After
// that or after an error the next call must be Reset.
func (r *Request) Parse(b []byte, l Limits) (int, error) { return r.parse(b, l.fill()) }

func (r *Request) parse(b []byte, l Limits) (int, error) {
	whole := len(b) >= l.Head
	b = b[:min(len(b), l.Head)]
	if r.phase < atLine {
		if more, err := r.requestLine(b, l.Target); err != nil {
			return 0, err
		} else if more {
			return 0, r.tooLong(whole, l)
		}
	}
	done, err := r.scan(&r.Fields, b, l.Fields)
	if err != nil {
		return 0, err
	}
	if !done {
		return 0, r.tooLong(whole, l)
	}
	r.bind(b)
	if err := r.conclude(); err != nil {
		return 0, err
	}
	return r.at, nil
}

// tooLong is an error when the limit was reached before the head was complete.
func (s *section) tooLong(whole bool, l Limits) error {
	if !whole {
		return nil
	}
	return fault(431, l.Head, "the head is too large")
}

// bind lets the members point into b, which holds the head that was parsed.
func (r *Request) bind(b []byte) {
	r.buf = b
	q := &r.start
	r.Method = q.method.in(b)
	r.Path, r.Query, r.Scheme = q.path.in(b), nil, nil
	if q.asked {
		r.Query = q.query.in(b)
	}
	if q.absolute {
		r.Scheme = q.scheme.in(b)
	}
	if q.host.end > 0 {
		r.Host = q.host.in(b)
	}
}

// conclude decides what the fields mean together.
func (r *Request) conclude() error {
	var c control
	c.read(&r.Fields)
	if err := r.checkHost(&c); err != nil {
		return err
	}
	if c.lengths > 1 {
		return bad(r.offset(r.Find("content-length", c.length+1)), "Content-Length is repeated")
	}
	var err error
	if r.Chunked, err = c.chunked(&r.Fields, r.Minor); err != nil {
		return err
	}
	if r.ContentLength, err = c.contentLength(&r.Fields); err != nil {
		return err
	}
	r.KeepAlive = c.stays(r.Minor)
	r.WebSocket = r.Minor > 0 && c.upgrade && c.websocket
	return r.checkExpect(&c)
}

// checkExpect follows RFC 9110 10.1.1: the one expectation that is known, which HTTP/1.0
// does not have, and which means nothing without a body.
func (r *Request) checkExpect(c *control) error {
	if c.expects == 0 {
		return nil
	}
	for i := c.expect; i >= 0; i = r.Find("expect", i+1) {
		if !EqualFold(r.Value(i), "100-continue") {
			return fault(417, r.offset(i), "Expect is not 100-continue")
		}
	}
	r.Continue = r.Minor > 0 && (r.Chunked || r.ContentLength > 0)
	return nil
}

// Framing says how the body is framed (RFC 9112 6.3).
func (r *Request) Framing() Framing {
	switch {
	case r.Chunked:
		return Framing{Kind: Chunked}
	case r.ContentLength > 0:
		return Framing{Kind: Sized, Length: r.ContentLength}
	}
	return Framing{}
}
