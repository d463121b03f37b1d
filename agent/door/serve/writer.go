package serve

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// holdBack is how much of an answer is kept until it is flushed.
const holdBack = 4 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, holdBack+1<<10); return &b }}

// writer is the http.ResponseWriter of the whole way. It also is what an
// http.ResponseController works with.
type writer struct {
	c      *Conn
	r      *http.Request
	body   *body // nil when the request could not be read
	header http.Header

	mu        sync.Mutex // for the writes to the connection: a body that is begun says 100
	continues bool       // the client waits for a 100
	continued bool       // it got one

	status int // of the final head; 0: not yet
	headed bool
	length int64 // as announced, -1 when it was not
	sent   int64 // of the body, or kept back
	form   form
	buf    *[]byte
	held   []byte // of the body, while it is not known how that comes
	err    error  // of the connection
	broken bool   // what was announced did not come
	timed  bool   // somebody set a write deadline
}

// form is how a body is written.
type form uint8

const (
	plain   form = iota // by its length, or up to the connection's end
	chunked             //
	none                // a HEAD, or a status that has none
)

func newWriter(c *Conn, r *http.Request) *writer {
	return &writer{c: c, r: r, header: http.Header{}, length: -1, buf: buffers.Get().(*[]byte)}
}

// release gives the buffer back. What is written later is lost.
func (w *writer) release() {
	*w.buf = (*w.buf)[:0]
	buffers.Put(w.buf)
	w.buf = new([]byte)
}

// Header implements http.ResponseWriter.
func (w *writer) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter, for interim answers too.
func (w *writer) WriteHeader(status int) {
	if w.status != 0 || w.c.taken {
		return
	}
	if status < 200 {
		w.interim(status)
		return
	}
	w.status = status
	if v := w.header["Content-Length"]; len(v) > 0 {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil && n >= 0 {
			w.length = n
		}
	}
	b := appendStatus((*w.buf)[:0], status)
	*w.buf = appendFields(b, w.header, false)
}

func (w *writer) interim(status int) {
	if w.r.ProtoMinor == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == http.StatusContinue {
		if w.continued {
			return
		}
		w.continues, w.continued = false, true
	}
	b := appendFields(appendStatus(nil, status), w.header, true)
	w.push(http1.AppendEnd(b))
}

// proceed asks a client that waits for it to send its body.
func (w *writer) proceed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.continues {
		w.continues, w.continued = false, true
		w.push([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
	}
}

// awaited reports whether the client still waits for a 100, which it will not get now.
func (w *writer) awaited() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.continues
}

func appendStatus(b []byte, status int) []byte {
	b, err := http1.AppendStatusLine(b, status, http.StatusText(status))
	if err != nil { // a number that is no status
		b, _ = http1.AppendStatusLine(b, http.StatusInternalServerError, "")
	}
	return b
}

// appendFields appends what the Handler set, without framing, which is ours. A field
// that cannot be written is left out.
func appendFields(b []byte, h http.Header, interim bool) []byte {
	for name, values := range h {
		switch name {
		case "Connection", "Content-Length", "Transfer-Encoding", "Keep-Alive", "Upgrade":
			if name != "Upgrade" || interim {
				continue
			}
		}
		if strings.HasPrefix(name, http.TrailerPrefix) {
			continue
		}
		for _, v := range values {
			b, _ = http1.AppendField(b, name, v)
		}
	}
	return b
}

// head completes the head, when it is known how the body comes. whole says that all of
// it is there.
func (w *writer) head(whole bool) {
	if w.headed {
		return
	}
	w.headed = true
	b := *w.buf
	bodiless := w.status == http.StatusNoContent || w.status == http.StatusNotModified
	switch {
	case bodiless || w.r.Method == http.MethodHead:
		w.form = none
		if w.length >= 0 && w.status != http.StatusNoContent {
			b = http1.AppendLength(b, w.length)
		}
	case w.length >= 0:
		b = http1.AppendLength(b, w.length)
	case whole:
		w.length = w.sent
		b = http1.AppendLength(b, w.length)
	case w.r.ProtoMinor > 0:
		w.form = chunked
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	default:
		w.c.keep = false
	}
	if _, ok := w.header["Date"]; !ok {
		b = append(w.c.s.cfg.Now().UTC().AppendFormat(append(b, "Date: "...), http.TimeFormat), '\r', '\n')
	}
	*w.buf = http1.AppendEnd(w.connection(b))
}

// connection appends what the answer says of the connection.
func (w *writer) connection(b []byte) []byte {
	for _, v := range w.header["Connection"] {
		if http1.HasToken([]byte(strings.ToLower(v)), "close") {
			w.c.keep = false
		}
	}
	if w.body != nil && w.body.large(w.r.ContentLength) || w.awaited() {
		w.c.keep = false
	}
	upgrade := w.header["Upgrade"] != nil // a 426 names what it wants
	switch last := w.c.LastAnswer(); {
	case last && upgrade:
		return append(b, "Connection: close, Upgrade\r\n"...)
	case last:
		return append(b, "Connection: close\r\n"...)
	case upgrade:
		return append(b, "Connection: Upgrade\r\n"...)
	case w.r.ProtoMinor == 0:
		return append(b, "Connection: keep-alive\r\n"...)
	}
	return b
}

// Write implements http.ResponseWriter.
func (w *writer) Write(p []byte) (int, error) {
	if w.c.taken {
		return 0, http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil || len(p) == 0 {
		return 0, w.err
	}
	if w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.sent+int64(len(p)) > w.length {
		return 0, http.ErrContentLength
	}
	w.sent += int64(len(p))
	if !w.headed && w.length < 0 && w.sent <= holdBack/2 {
		w.held = append(w.held, p...)
		return len(p), nil
	}
	w.begin(false)
	if w.put(p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// begin completes the head and lets go of what was held back for it.
func (w *writer) begin(whole bool) {
	if w.headed {
		return
	}
	w.head(whole)
	w.put(w.held)
	w.held = nil
}

// put writes a piece of the body, or keeps it while there is room.
func (w *writer) put(p []byte) {
	if w.form == none || len(p) == 0 {
		return
	}
	b, end := *w.buf, ""
	if w.form == chunked {
		b, end = http1.AppendChunkSize(b, int64(len(p))), "\r\n"
	}
	if len(b)+len(p)+len(end) <= holdBack {
		*w.buf = append(append(b, p...), end...)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.form == plain {
		w.push(b, p)
	} else {
		w.push(b, p, []byte(end))
	}
	*w.buf = b[:0]
}

// push writes to the connection.
func (w *writer) push(pieces ...[]byte) {
	if w.err != nil {
		return
	}
	if len(pieces) == 1 {
		_, w.err = w.c.direct.Write(pieces[0])
		return
	}
	all := net.Buffers(pieces)
	_, w.err = all.WriteTo(w.c.direct)
}

// FlushError is Flush for an http.ResponseController.
func (w *writer) FlushError() error {
	if w.c.taken {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.begin(false)
	w.flush()
	return w.err
}

// Flush implements http.Flusher.
func (w *writer) Flush() { _ = w.FlushError() } // the next Write tells of it

func (w *writer) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(*w.buf) > 0 {
		w.push(*w.buf)
	}
	*w.buf = (*w.buf)[:0]
}

// finish completes the answer when the Handler has returned.
func (w *writer) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.begin(true)
	if w.form == chunked {
		*w.buf = http1.AppendEnd(w.trailer(http1.AppendLastChunk(*w.buf)))
	}
	w.flush()
	w.broken = w.err != nil || w.form == plain && w.length >= 0 && w.sent < w.length
	w.release()
}

// giveUp lets what there is of an answer go, which will not be whole. Who gets nothing at
// all may take it for a connection that died while it was idle, and ask again.
func (w *writer) giveUp() {
	if w.status != 0 {
		w.begin(false)
		w.flush()
	}
}

// trailer appends the fields that the Handler has set with http.TrailerPrefix.
func (w *writer) trailer(b []byte) []byte {
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
			for _, v := range values {
				b, _ = http1.AppendField(b, name, v) // one that cannot be written is left out
			}
		}
	}
	return b
}

// SetReadDeadline is for http.ResponseController. It ends with the body.
func (w *writer) SetReadDeadline(t time.Time) error {
	if b, ok := w.r.Body.(*body); ok {
		if b.done.Load() && !t.IsZero() {
			return nil // there is nothing to be read; who watches the client is not disturbed
		}
		b.timed.Store(!t.IsZero())
	}
	return w.c.nc.SetReadDeadline(t)
}

// SetWriteDeadline is for http.ResponseController. It ends with the answer.
func (w *writer) SetWriteDeadline(t time.Time) error {
	w.timed = !t.IsZero()
	return w.c.nc.SetWriteDeadline(t)
}

func (w *writer) resetDeadline() {
	if w.timed {
		_ = w.c.nc.SetWriteDeadline(time.Time{}) // a dead connection shows when it is written to
	}
}

// Hijack implements http.Hijacker. What the client has sent already is buffered in the
// Reader.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	c := w.c
	if c.taken {
		return nil, nil, http.ErrHijacked
	}
	c.rest()
	if c.over {
		return nil, nil, net.ErrClosed
	}
	c.leave()
	w.release()
	rest := append([]byte(nil), c.reader.Buffered()...)
	c.reader.Release()
	br := bufio.NewReaderSize(io.MultiReader(&oneRead{rest}, c.nc), max(len(rest), 16))
	if len(rest) > 0 {
		_, _ = br.Peek(len(rest)) // it is in memory
	}
	return c.nc, bufio.NewReadWriter(br, bufio.NewWriterSize(c.nc, 16)), nil // who hijacks writes himself
}

// oneRead gives all it has at once, so that a bufio.Reader buffers it whole.
type oneRead struct{ b []byte }

func (o *oneRead) Read(p []byte) (int, error) {
	n := copy(p, o.b)
	if o.b = o.b[n:]; n == 0 {
		return 0, io.EOF
	}
	return n, nil
}
