package upstream

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Request is one request as it shall reach the engine. RoundTrip changes nothing
// in it and uses it until the Response's Body has been read to its end or closed.
type Request struct {
	Method string // a token; not CONNECT
	Target string // origin-form as received: "/path?query", or "*"
	Host   string // may be empty
	// Header holds end-to-end fields. Host, Content-Length, Transfer-Encoding,
	// Connection, Keep-Alive, Proxy-Connection and Upgrade in it are not written;
	// they are made from the other members. TE is written when it says "trailers",
	// Trailer when the body is chunked. See CleanHeader.
	Header http.Header

	// Body is read by another goroutine, at most ContentLength bytes of it, or to
	// io.EOF when ContentLength is -1 (chunked). Nil, or a length of 0, is no body.
	// It is never closed. It is not touched any more once RoundTrip has failed, or
	// once the Response's Body has ended or was closed: those calls wait for a Read
	// that is under way, so give StopBody for a source that can block.
	Body          io.Reader
	ContentLength int64
	// StopBody, if not nil, makes a blocked Body.Read return soon (for a body of
	// net/http: ResponseController.SetReadDeadline with a time in the past). It is
	// called at most once, when the rest of the body is not wanted any more.
	StopBody func()
	// Trailer, if not nil, gives the trailer fields after a chunked Body's io.EOF.
	Trailer func() http.Header

	// Upgrade asks for WebSocket: "Connection: Upgrade" and "Upgrade: websocket" are
	// written, and 101 is an acceptable answer. There must be no body.
	Upgrade bool

	// On1xx, if not nil, is told of every informational answer but 101, in order,
	// before RoundTrip returns, by the goroutine that called it. The header is clean
	// and belongs to the callee.
	On1xx func(status int, h http.Header)

	HeadTimeout time.Duration // 0: the pool's; negative: none
	BodyIdle    time.Duration // 0: the pool's; negative: none

	// Pin, if not nil, is the connection that belongs to this client connection
	// (see Response.Pinned). A Pin of another Pool is ignored.
	Pin *Pin
}

func (r *Request) hasBody() bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

func (r *Request) chunked() bool { return r.hasBody() && r.ContentLength < 0 }

// idempotent follows RFC 9110 9.2.2.
func (r *Request) idempotent() bool {
	switch r.Method {
	case "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE":
		return true
	}
	return false
}

// expectsContinue reports whether the body waits for the engine's 100.
func (r *Request) expectsContinue() bool {
	return r.hasBody() && hasElement(r.Header["Expect"], "100-continue")
}

func (r *Request) check() error {
	switch {
	case !isToken(r.Method) || r.Method == "CONNECT":
		return badField("method")
	case !isTarget(r.Target):
		return badField("target")
	case !isHost(r.Host):
		return badField("host")
	case r.ContentLength < -1:
		return badField("content length is negative")
	case r.ContentLength > 0 && !r.hasBody():
		return badField("content length without a body")
	case r.Upgrade && r.hasBody():
		return badField("upgrade with a body")
	}
	return checkFields(r.Header)
}

func checkFields(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return badField("field name " + strconv.QuoteToASCII(name))
		}
		for _, v := range values {
			if !isFieldValue(v) {
				return badField("value of field " + name)
			}
		}
	}
	return nil
}

func isTarget(s string) bool {
	if s != "*" && !strings.HasPrefix(s, "/") {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

func isHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`/\@?#`, c) >= 0 {
			return false
		}
	}
	return true
}

// appendHead appends the request line and all fields. The request was checked.
func (r *Request) appendHead(b []byte) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, r.Target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, '\r', '\n')
	for name, values := range r.Header {
		if framingField(name) || !r.chunked() && strings.EqualFold(name, "Trailer") {
			continue
		}
		b = appendField(b, name, values)
	}
	switch {
	case r.Upgrade:
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	case acceptsTrailers(r.Header["Te"]):
		b = append(b, "Connection: TE\r\nTE: trailers\r\n"...) // RFC 9110 10.1.4
	}
	return append(r.appendLength(b), '\r', '\n')
}

func (r *Request) appendLength(b []byte) []byte {
	switch {
	case r.chunked():
		return append(b, "Transfer-Encoding: chunked\r\n"...)
	case r.hasBody():
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, r.ContentLength, 10)
		return append(b, '\r', '\n')
	}
	switch r.Method { // RFC 9110 8.6: these say that they have no content
	case "POST", "PUT", "PATCH":
		return append(b, "Content-Length: 0\r\n"...)
	}
	return b
}

func appendField(b []byte, name string, values []string) []byte {
	for _, v := range values {
		b = append(b, name...)
		b = append(b, ':', ' ')
		b = append(b, v...)
		b = append(b, '\r', '\n')
	}
	return b
}
