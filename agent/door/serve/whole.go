package serve

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"runtime/debug"
	"time"

	"github.com/ushercluster/usher/agent/http1"
)

// whole has the Handler answer a request.
func (c *Conn) whole(q *http1.Request) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	r, b, err := c.request(q)
	if err != nil {
		c.refuse(&http1.Error{Status: http.StatusBadRequest, Reason: "target is not an address"})
		return
	}
	c.Attach(canceller(cancel))
	if !c.enter(c.at, 0) {
		return
	}
	w := newWriter(c, r)
	b.w, w.body = w, b
	w.continues = q.Continue && b.early == nil
	switch ok := c.handle(w, r.WithContext(ctx)); {
	case c.taken:
	case ok:
		w.finish()
	default:
		w.giveUp()
	}
	b.end()
	if c.taken {
		return
	}
	if w.broken {
		c.Cut()
	}
	if c.keep = c.keep && !c.over && b.drain(); !b.done.Load() {
		c.linger = true
	}
	b.resetDeadline()
	w.resetDeadline()
}

type canceller context.CancelFunc

// Cut implements Cutter.
func (f canceller) Cut() { f() }

// handle calls the Handler; it returns false when that cut the connection.
func (c *Conn) handle(w *writer, r *http.Request) (ok bool) {
	defer func() {
		if e := recover(); e != nil {
			if err, is := e.(error); !is || !errors.Is(err, http.ErrAbortHandler) {
				c.s.cfg.Log.Error().Interface("panic", e).Bytes("stack", debug.Stack()).Msg("handler panicked")
			}
			c.Cut()
		}
	}()
	c.s.Handler.ServeHTTP(w, r)
	return true
}

// request makes of a parsed head what net/http would. Nothing in it points into the
// connection's buffer.
func (c *Conn) request(q *http1.Request) (*http.Request, *body, error) {
	target := string(q.AppendTarget(nil))
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil, nil, err
	}
	r := &http.Request{
		Method: string(q.Method), URL: u, RequestURI: target, Host: string(q.Host), RemoteAddr: c.remote,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: int(q.Minor), Close: !q.KeepAlive,
		Header: header(&q.Fields), ContentLength: max(q.ContentLength, 0),
	}
	if q.Minor == 0 {
		r.Proto = "HTTP/1.0"
	}
	b := &body{c: c, early: c.early}
	c.early = nil
	switch {
	case q.Chunked:
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		r.Trailer = http.Header{}
		b.trailer = r.Trailer
		r.Body = b
	case q.ContentLength > 0:
		r.Body = b
	default:
		b.done.Store(true)
		r.Body = http.NoBody
	}
	return r, b, nil
}

// header is the fields as net/http has them: canonical names, without Host,
// Transfer-Encoding and Trailer.
func header(f *http1.Fields) http.Header {
	h := make(http.Header, f.Len())
	values := make([]string, f.Len()) // one allocation for the common case of one value a name
	for i := range f.Len() {
		name := http.CanonicalHeaderKey(string(f.Name(i)))
		switch name {
		case "Host", "Transfer-Encoding", "Trailer":
			continue
		}
		value := string(f.Value(i))
		if old := h[name]; old != nil {
			h[name] = append(old, value)
			continue
		}
		values[0] = value
		h[name], values = values[:1:1], values[1:]
	}
	return h
}

// refuse answers a request that cannot be handled, and ends the connection.
func (c *Conn) refuse(bad *http1.Error) {
	c.keep, c.linger = false, true
	r := &http.Request{
		Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{}, Body: http.NoBody, RemoteAddr: c.remote,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Close: true,
	}
	w := newWriter(c, r.WithContext(c.ctx))
	_ = w.SetWriteDeadline(c.s.cfg.Now().Add(lingerTime))
	if c.s.cfg.Page != nil {
		c.s.cfg.Page(w, r, bad)
	} else {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if bad.Status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		}
		w.WriteHeader(bad.Status)
		_, _ = w.Write([]byte(bad.Reason + "\n")) // a client that has gone is noticed by its connection
	}
	w.finish()
	_ = c.nc.SetWriteDeadline(time.Time{})
}
