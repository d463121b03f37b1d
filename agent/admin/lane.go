package admin

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// A fastLane answers plain requests of the API for about half of what net/http takes for
// them: those for /v1/... over HTTP/1.1 in the clear, whose head is plain, whose body has a
// length, and which come in one piece, or in two. Most requests are of that kind. Whatever
// else comes over a connection, be it right or wrong, brings the connection to net/http for
// good, with the bytes that were read.
//
//	slots -> lane -> handler -> answer --+--> anything else -> net/http
//	           ^---------- next ---------'
//	           ^--- idle <- answer <- wait on the lot <- detach
type fastLane struct {
	handler http.Handler
	lot     *lot
	slots   *slots
	who     func(net.Conn) context.Context
	log     zerolog.Logger
	buffers sync.Pool // of *[laneBuffer]byte
	answers sync.Pool // of *[]byte
	wg      sync.WaitGroup

	closed atomic.Bool
	mu     sync.Mutex
	conns  map[*rider]struct{}
}

const (
	laneBuffer = 4 << 10 // bytes of a request, and of what follows it; longer ones are net/http's
	laneFields = 32
	// coarse is how much earlier than said a deadline may pass: to arm one for each
	// request costs more than to parse it.
	coarse = time.Second
)

func newFastLane(h http.Handler, l *lot, who func(net.Conn) context.Context) *fastLane {
	return &fastLane{
		handler: h, lot: l, slots: l.slots, who: who, conns: map[*rider]struct{}{},
		buffers: sync.Pool{New: func() any { return new([laneBuffer]byte) }},
		answers: sync.Pool{New: func() any { return new(make([]byte, 0, 2<<10)) }},
	}
}

// Accept implements net.Listener: what the lane does not take is net/http's.
func (l *fastLane) Accept() (net.Conn, error) {
	for {
		c, err := l.slots.Accept()
		if err != nil {
			return nil, err
		}
		if _, secure := c.(*tls.Conn); secure || !l.take(c, nil, headerTimeout) {
			return c, nil
		}
	}
}

// Close implements net.Listener.
func (l *fastLane) Close() error { return l.slots.Close() }

// Addr implements net.Listener.
func (l *fastLane) Addr() net.Addr { return l.slots.Addr() }

// take begins to serve a connection, of which head has been read and whose next request
// must have begun within patience; false when the server stops.
func (l *fastLane) take(c net.Conn, head []byte, patience time.Duration) bool {
	r := &rider{lane: l, conn: c, ctx: l.who(c), remote: c.RemoteAddr().String()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed.Load() || len(head) > laneBuffer {
		return false
	}
	l.conns[r] = struct{}{}
	l.wg.Go(func() { r.ride(head, patience) })
	return true
}

// shut ends what is idle and waits for the rest, which loses its connections when ctx
// ends.
func (l *fastLane) shut(ctx context.Context) {
	l.mu.Lock()
	l.closed.Store(true) // before busy is looked at: see read
	for r := range l.conns {
		if !r.busy.Load() {
			_ = r.conn.SetReadDeadline(past()) // a closed one has ended
		}
	}
	l.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for r := range l.conns {
			_ = r.conn.Close() // whoever uses it meets the error
		}
	})
	l.wg.Wait()
	stop()
}

// rider is a connection on the lane. It belongs to one goroutine but for busy.
type rider struct {
	lane   *fastLane
	conn   net.Conn
	ctx    context.Context
	remote string
	busy   atomic.Bool // a request has come and is not answered yet

	idleUntil, writeUntil time.Time // deadlines that are armed
}

func (r *rider) ride(head []byte, patience time.Duration) {
	buf := r.lane.buffers.Get().(*[laneBuffer]byte)
	have := copy(buf[:], head)
	left := false
	for ; ; patience = idleTimeout {
		if have == 0 {
			if have = r.read(buf[:], patience); have == 0 {
				break
			}
		}
		req, used := plainRequest(buf[:have])
		if req == nil && mayBecomePlain(buf[:have]) { // the lot has read a byte of it
			more := r.read(buf[have:], headerTimeout)
			if head, _ := plainStart(buf[:have]); more == 0 && head == nil {
				break // it would be net/http's end, too; a body may be late
			}
			have += more
			req, used = plainRequest(buf[:have])
		}
		if req == nil {
			left = r.handOver(buf[:have])
			break
		}
		req.RemoteAddr = r.remote
		w := &plainWriter{conn: r.conn, rider: r, next: buf[used:have], header: make(http.Header, 8)}
		if ended := r.answer(w, req.WithContext(r.ctx)); w.hijacked || ended {
			left = w.hijacked
			break
		}
		have = copy(buf[:], buf[used:have])
	}
	r.leave(left)
	r.lane.buffers.Put(buf)
}

// read waits for something to come; 0 when nothing does.
func (r *rider) read(buf []byte, patience time.Duration) int {
	left := time.Until(r.idleUntil)
	if left < patience-coarse || left > patience {
		r.idleUntil = time.Now().Add(patience)
		_ = r.conn.SetReadDeadline(r.idleUntil) // fails on a closed connection, as the read will
	}
	r.busy.Store(false)
	if r.lane.closed.Load() { // after busy: see shut
		return 0
	}
	n, err := r.conn.Read(buf)
	r.busy.Store(true)
	if err != nil {
		return 0
	}
	return n
}

// answer reports whether the connection has to end.
func (r *rider) answer(w *plainWriter, req *http.Request) (ended bool) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		ended = true
		if p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, never wrapped
			r.lane.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("admin request panicked")
		}
	}()
	r.lane.handler.ServeHTTP(w, req)
	return w.err != nil || w.last || !w.written
}

// handOver brings the connection to net/http.
func (r *rider) handOver(read []byte) bool {
	_ = r.conn.SetDeadline(time.Time{}) // a closed connection is noticed by the next read
	return r.lane.lot.returned.give(&begun{Conn: r.conn, head: bytes.Clone(read)})
}

// leave ends the ride; the connection too, unless somebody else has it.
func (r *rider) leave(left bool) {
	l := r.lane
	l.mu.Lock()
	delete(l.conns, r)
	l.mu.Unlock()
	if !left {
		_ = r.conn.Close() // nothing depends on it any more
		l.slots.release(r.conn)
	}
}

// mayBecomePlain reports whether b is the beginning of a plain request, and there is room
// for the rest.
func mayBecomePlain(b []byte) bool {
	if len(b) == laneBuffer {
		return false
	}
	if bytes.Contains(b, []byte("\r\n\r\n")) {
		head, _ := plainStart(b)
		return head != nil // and so it is the body that is not whole
	}
	for _, method := range plainMethods() {
		start := method + plainPath
		if n := min(len(b), len(start)); string(b[:n]) == start[:n] {
			return true
		}
	}
	return false
}

const plainPath = " /v1/"

func plainMethods() [5]string {
	return [...]string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch}
}

// plainRequest reads the request at the beginning of b, which takes used bytes. It is nil
// when the request is not whole, or not plain: then there is nothing to say about it.
func plainRequest(b []byte) (req *http.Request, used int) {
	req, used = plainStart(b)
	if req == nil || req.ContentLength > int64(len(b)-used) {
		return nil, 0
	}
	if n := int(req.ContentLength); n > 0 {
		req.Body = io.NopCloser(bytes.NewReader(bytes.Clone(b[used : used+n])))
		used += n
	}
	return req, used
}

func plainStart(b []byte) (req *http.Request, used int) {
	const version = " HTTP/1.1\r\n"
	end := bytes.Index(b, []byte("\r\n\r\n"))
	space := bytes.IndexByte(b, ' ')
	if end < 0 || space < 0 || space > end || !bytes.HasPrefix(b[space:], []byte(plainPath)) {
		return nil, 0
	}
	method := plainMethod(b[:space])
	if method == "" {
		return nil, 0
	}
	line := bytes.IndexByte(b, '\n') + 1
	target, ok := strings.CutSuffix(string(b[space+1:line]), version)
	if !ok || strings.ContainsFunc(target, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return nil, 0
	}
	if strings.Contains(target, "//") || strings.Contains(target, "/.") {
		return nil, 0 // which the mux answers with a redirect, and that without a body
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, 0
	}
	req = &http.Request{
		Method: method, URL: u, RequestURI: target, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, 4), Body: http.NoBody,
	}
	if !plainFields(b[line:end+2], req) || req.Method == http.MethodGet && req.ContentLength > 0 {
		return nil, 0
	}
	return req, end + 4
}

// plainMethod is the method that b spells; none for others.
func plainMethod(b []byte) string {
	for _, m := range plainMethods() {
		if string(b) == m {
			return m
		}
	}
	return ""
}

// plainFields reads lines that end in CR LF each.
func plainFields(b []byte, req *http.Request) bool {
	values := make([]string, 0, 8)
	for n := 0; len(b) > 0; n++ {
		end := bytes.IndexByte(b, '\n')
		line, ok := bytes.CutSuffix(b[:end], []byte{'\r'})
		name, value, found := bytes.Cut(line, []byte{':'})
		b = b[end+1:]
		if !ok || !found || n == laneFields || len(name) == 0 || !every(name, isTokenChar) {
			return false
		}
		if value = bytes.Trim(value, " \t"); !every(value, isTextChar) {
			return false
		}
		key, text := textproto.CanonicalMIMEHeaderKey(string(name)), string(value)
		switch key {
		case "Host":
			if text == "" || req.Host != "" || !every(value, isHostChar) {
				return false
			}
			req.Host = text
			continue
		case "Content-Length":
			n, err := strconv.ParseUint(text, 10, 16)
			if err != nil || req.Header[key] != nil {
				return false
			}
			req.ContentLength = int64(n)
		case "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Connection", "Keep-Alive", "Proxy-Connection", "Pragma", "Http2-Settings":
			return false
		}
		if old := req.Header[key]; old != nil {
			req.Header[key] = append(old[:len(old):len(old)], text)
			continue
		}
		values = append(values, text)
		req.Header[key] = values[len(values)-1 : len(values) : len(values)]
	}
	return req.Host != ""
}

func every(b []byte, is func(byte) bool) bool {
	for _, c := range b {
		if !is(c) {
			return false
		}
	}
	return true
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9'
}

// isTokenChar is less than RFC 9110, 5.6.2, allows, but all that is in use.
func isTokenChar(c byte) bool { return isLetterOrDigit(c) || c == '-' || c == '_' }

func isTextChar(c byte) bool { return c == '\t' || ' ' <= c && c < 0x7f }

// isHostChar is what names, addresses and ports are made of.
func isHostChar(c byte) bool {
	return isLetterOrDigit(c) || c == '.' || c == '-' || c == ':' || c == '[' || c == ']' || c == '_'
}

// Hijack is http.ResponseController's, for detach.
func (w *plainWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.rider == nil || w.written {
		return nil, nil, http.ErrNotSupported
	}
	w.hijacked = true
	read := bufio.NewReaderSize(bytes.NewReader(bytes.Clone(w.next)), max(16, len(w.next)))
	_, _ = read.Peek(len(w.next)) // so that it counts as buffered
	return w.conn, bufio.NewReadWriter(read, nil), nil
}
