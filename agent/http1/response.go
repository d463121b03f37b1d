package http1

// Response is the head of a response and what follows from it. Use one value for many
// heads, as with Request.
type Response struct {
	Status int    // 100 to 599
	Reason []byte // raw; may be empty
	Minor  uint8  // of the version: 0 or 1

	ContentLength int64 // -1 when there is no Content-Length
	Chunked       bool  // said so; Framing knows whether there is a body at all
	KeepAlive     bool  // the head allows another exchange; see Framing for the rest of it
	WebSocket     bool  // it is a 101 that changes to websocket

	Fields
	section
	reason place
}

// Reset forgets the head, so that another can be parsed. It keeps memory for fields.
func (r *Response) Reset() {
	*r = Response{Fields: Fields{spans: r.spans[:0]}}
}

// Parse reads a head as Request.Parse does. Every Error has the status 502.
func (r *Response) Parse(b []byte, l Limits) (int, error) { return r.parse(b, l.fill()) }

func (r *Response) parse(b []byte, l Limits) (int, error) {
	n, err := r.read(b, l)
	if e, ok := err.(*Error); ok { //nolint:errorlint // it is made below and never wrapped
		e.Status = 502
	}
	return n, err
}

func (r *Response) read(b []byte, l Limits) (int, error) {
	whole := len(b) >= l.Head
	b = b[:min(len(b), l.Head)]
	if r.phase < atLine {
		if more, err := r.statusLine(b); err != nil {
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

func (r *Response) bind(b []byte) {
	r.buf = b
	r.Reason = r.reason.in(b)
}

// conclude decides what the fields mean together.
func (r *Response) conclude() error {
	var c control
	c.read(&r.Fields)
	if c.lengthsDiffer {
		return bad(r.offset(c.length), "Content-Lengths differ")
	}
	var err error
	if r.Chunked, err = c.chunked(&r.Fields, r.Minor); err != nil {
		return err
	}
	if r.ContentLength, err = c.contentLength(&r.Fields); err != nil {
		return err
	}
	body := r.Chunked || r.ContentLength > 0
	if r.Status < 200 && body {
		return bad(0, "interim response with a body")
	}
	// Who announces a body with 204 may well send one: it must not become the
	// beginning of the next response.
	r.KeepAlive = c.stays(r.Minor) && (r.Status != 204 || !body)
	r.WebSocket = r.Status == 101 && r.Minor > 0 && c.upgrade && c.websocket
	return nil
}

// Framing says how the body of the response to a request of that method is framed (RFC
// 9112 6.3). When its Kind is UntilClose, the connection cannot be used again, whatever
// KeepAlive says. The method must not be CONNECT.
func (r *Response) Framing(method []byte) Framing {
	switch {
	case r.Status < 200, r.Status == 204, r.Status == 304, string(method) == "HEAD":
		return Framing{}
	case r.Chunked:
		return Framing{Kind: Chunked}
	case r.ContentLength > 0:
		return Framing{Kind: Sized, Length: r.ContentLength}
	case r.ContentLength == 0:
		return Framing{}
	}
	return Framing{Kind: UntilClose}
}
