package upstream

import (
	"io"
	"net"
	"net/http"
	"time"
)

// Response is one final answer. Its Body must be closed, or read to io.EOF, which
// is when the connection becomes free for the next request.
type Response struct {
	Status int    // 101 only when the request asked for an upgrade, else 200 to 599
	Reason string // as sent, may be empty
	// Header has canonical names and is clean (CleanHeader). Content-Length is in it
	// at most once. A 101 needs "Connection: Upgrade" and "Upgrade: websocket" added
	// before it goes to the client.
	Header http.Header
	// ContentLength is the length of Body, or -1 when it is not known beforehand. For
	// HEAD and 304 it is what the engine announced, and Body is empty.
	ContentLength int64
	// Body is never nil. Read returns TimeoutError, BadAnswerError, io.ErrUnexpectedEOF
	// or the context's error when the answer does not come whole. Read and Close are
	// for one goroutine; to end a blocked Read cancel the context.
	Body io.ReadCloser
	// Trailer holds the trailer fields, clean, once Body has returned io.EOF.
	Trailer http.Header

	// Pinned, if not nil, says that the connection now carries one client's
	// authentication (NTLM or Negotiate): pass it as Request.Pin with all further
	// requests of the same client connection, and close it when that ends. It is
	// the Request's own Pin if it had one.
	Pinned *Pin

	// Conn is the engine's connection after a 101, without deadlines, and Buffered
	// what was read from it beyond the head. Both then belong to the caller.
	Conn     net.Conn
	Buffered []byte

	x *exchange
}

// SetBodyIdle changes how long the rest of the body may stall; d <= 0 is for ever.
// A stream of events, known by its Content-Type, wants more than a file does. Call
// it between reads.
func (r *Response) SetBodyIdle(d time.Duration) {
	if r.x != nil && !r.x.finished {
		r.x.c.setBodyIdle(d)
	}
}
