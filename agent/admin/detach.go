package admin

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/logs"
)

type (
	connKey struct{}
	lotKey  struct{}
)

// admitted tells the listener that the connection is no stranger's any more.
func (c *call) admitted() {
	l, _ := c.r.Context().Value(lotKey{}).(*lot)
	conn, _ := c.r.Context().Value(connKey{}).(net.Conn)
	if l != nil && conn != nil {
		l.slots.letIn(conn)
	}
}

// detach takes a request that is going to wait from net/http and answers it in a
// goroutine of the lot. It reports false when that cannot be, as with HTTP/2: the request
// waits where it is.
func (c *call) detach() bool {
	l, _ := c.r.Context().Value(lotKey{}).(*lot)
	conn, _ := c.r.Context().Value(connKey{}).(net.Conn)
	if l == nil || conn == nil || c.r.Method != http.MethodGet || c.r.ContentLength != 0 || c.r.ProtoMajor != 1 || c.r.ProtoMinor < 1 {
		return false
	}
	after, wait, yes := c.waits()
	if !yes || !l.enter() {
		return false
	}
	_, buffered, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		l.wg.Done()
		return false
	}
	_ = conn.SetDeadline(time.Time{}) // net/http's; a closed connection is noticed by the read
	s := &spot{lot: l, conn: conn}
	if n := buffered.Reader.Buffered(); n > 0 {
		b, _ := buffered.Reader.Peek(n) // what is buffered can be looked at
		s.next = bytes.Clone(b)
	}
	c.left = true
	go c.on(s).finish(after, wait)
	return true
}

// on is the same request on a spot. It holds nothing of net/http's connection, whose
// buffers are the most of what a waiting request takes.
func (c *call) on(s *spot) *call {
	return &call{
		s: c.s, from: c.from, route: c.route, r: c.r.WithContext(s.lot.base), ctx: s.lot.base, began: c.began, who: c.who, stay: stay{spot: s},
		w: &recorder{ResponseWriter: &plainWriter{conn: s.conn, spot: s, header: http.Header{}, last: c.r.Close || c.route.streams}},
	}
}

// finish waits, answers, and sees to the connection. The wait is here and not where the
// handler asks for it, because the stack is small here.
func (c *call) finish(after uint64, wait time.Duration) {
	s := c.spot
	defer s.lot.wg.Done()
	if wait > 0 {
		woke := s.wait(c.route.tables, after, wait)
		c.woke = &woke
	}
	if !c.gone() && c.answerDetached() && s.handBack() {
		return
	}
	s.giveTurn()
	_ = s.conn.Close() // nothing depends on it any more
	s.lot.slots.release(s.conn)
}

// gone reports whether the caller hung up while it waited.
func (c *call) gone() bool {
	return c.woke != nil && *c.woke == wokeByCaller && len(c.spot.next) == 0
}

// answerDetached reports whether the connection can be used again.
func (c *call) answerDetached() bool {
	defer c.end()
	w := c.w.ResponseWriter.(*plainWriter)
	return c.guard(c.route.handle) && (c.follow == nil || c.guard(c.follow)) && w.err == nil && !w.last
}

// guard reports whether f has come to its end.
func (c *call) guard(f func(*call)) (ok bool) {
	defer c.recovered(&ok)
	f(c)
	return true
}

func (c *call) recovered(ok *bool) {
	if p := recover(); p != nil {
		c.s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str(logs.Path, c.route.pattern).Msg("admin request panicked")
		c.w.status = http.StatusInternalServerError
		*ok = false
	}
}

// handBack waits for the next request and returns the connection to net/http.
func (s *spot) handBack() bool {
	s.giveTurn()
	if len(s.next) == 0 && (s.wait(0, 0, idleTimeout) != wokeByCaller || len(s.next) == 0) {
		return false
	}
	if _, secure := s.conn.(*tls.Conn); s.lot.lane != nil && !secure {
		return s.lot.lane.take(s.conn, s.next, idleTimeout)
	}
	return s.lot.returned.give(&begun{Conn: s.conn, head: s.next})
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// maxPooled bounds the buffers that are kept for the next answer.
const maxPooled = 16 << 10

// plainWriter writes answers of HTTP/1.1 (RFC 9112): one whose length the handler says,
// or one that ends with the connection.
type plainWriter struct {
	conn    net.Conn
	spot    *spot // nil on the lane
	header  http.Header
	last    bool   // the connection ends with this answer
	head    []byte // not written yet
	written bool   // of the answer, at least a part
	err     error

	rider    *rider  // nil on the lot
	pooled   *[]byte // what head is in
	next     []byte  // what was read behind the request
	hijacked bool
}

// Header implements http.ResponseWriter.
func (w *plainWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *plainWriter) WriteHeader(status int) {
	w.last = w.last || w.header.Get("Content-Length") == ""
	if w.last {
		w.header.Set("Connection", "close")
	}
	b := bytes.NewBuffer(w.room())
	b.WriteString("HTTP/1.1 " + strconv.Itoa(status) + " " + http.StatusText(status) + "\r\nDate: ")
	b.Write(time.Now().UTC().AppendFormat(b.AvailableBuffer(), http.TimeFormat))
	b.WriteString("\r\n")
	_ = w.header.Write(b) // a buffer takes everything
	b.WriteString("\r\n")
	w.head, w.header = b.Bytes(), http.Header{} // a stream keeps what it needs
}

// room is an empty buffer for a head and a small body.
func (w *plainWriter) room() []byte {
	if w.rider == nil {
		return make([]byte, 0, 1<<10)
	}
	w.pooled = w.rider.lane.answers.Get().(*[]byte)
	return (*w.pooled)[:0]
}

// Write implements http.ResponseWriter.
func (w *plainWriter) Write(b []byte) (int, error) {
	if w.spot != nil {
		w.spot.giveTurn()
	}
	if w.err != nil {
		return 0, w.err
	}
	if !w.written && w.head == nil {
		w.WriteHeader(http.StatusOK)
	}
	head := len(w.head)
	w.written = true
	w.head = append(w.head, b...)
	n, err := w.conn.Write(w.head)
	if w.pooled != nil {
		if *w.pooled = w.head; cap(w.head) <= maxPooled {
			w.rider.lane.answers.Put(w.pooled)
		}
		w.pooled = nil
	}
	w.head, w.err = nil, err
	return max(0, n-head), err
}

// FlushError is http.ResponseController's.
func (w *plainWriter) FlushError() error {
	if len(w.head) > 0 {
		_, _ = w.Write(nil) // the error stays
	}
	return w.err
}

// SetWriteDeadline is http.ResponseController's.
func (w *plainWriter) SetWriteDeadline(t time.Time) error {
	if w.rider != nil {
		if t.Sub(w.rider.writeUntil) < coarse {
			return nil
		}
		w.rider.writeUntil = t
	}
	return w.conn.SetWriteDeadline(t)
}
