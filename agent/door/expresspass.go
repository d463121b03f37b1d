package door

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/http1"
)

// maxInterim bounds the interim answers to one request.
const maxInterim = 32

// wholePiece is how much of an answer is gathered before it is written.
const wholePiece = 8 << 10

// pass carries the request to the other side and the answer back. It returns false when
// the whole way has to do it.
func (x *express) pass(head func(*express, []byte) []byte) bool {
	x.out = head(x, x.out[:0])
	x.head = len(x.out)
	if !x.takeBody() {
		return true
	}
	w := x.pool.Borrow()
	if w == nil {
		return x.missed(nil)
	}
	t := &x.set.Traffic
	x.c.Attach(w)
	if !x.c.Await(serve.Ticks(t.BodyIdle)) {
		_, _ = w.Failed(x.d.life.ctx, errCutShort, false) // there is nobody to tell
		return x.ended(nil)
	}
	if n, err := w.Write(x.out); err != nil {
		x.c.Detach(0)
		return x.failed(w, err, n >= x.head)
	}
	limit := t.HeadTimeout
	if x.row == nil {
		limit += ownerGrace
	}
	x.c.Await(serve.Ticks(limit))
	resp, err := x.readHead(w)
	if err != nil {
		x.c.Detach(0)
		return x.failed(w, err, true)
	}
	w.Answered()
	if x.row == nil && refuses(resp) {
		return x.refused(w, resp)
	}
	x.answer(w, resp)
	return true
}

var errCutShort = errors.New("the client has gone")

// takeBody reads a small body behind the head in out. It returns false when it did not
// come, and the client was told.
func (x *express) takeBody() bool {
	if x.q.ContentLength <= 0 {
		return true
	}
	r := x.c.Reader()
	for {
		x.c.Work(serve.Ticks(x.set.Traffic.BodyIdle))
		p, err := r.ReadBody()
		x.out = append(x.out, p...)
		switch {
		case err == nil && !r.Whole():
			continue
		case err == nil, errors.Is(err, io.EOF):
			return true
		}
		x.c.Work(0)
		x.broken = &clientError{err}
		if x.c.Revive() {
			x.broken = nil
			x.c.Fail(&http1.Error{Status: http.StatusRequestTimeout, Reason: bodyStalled})
			x.status = http.StatusRequestTimeout
		}
		x.c.EndAfter()
		return false
	}
}

// readHead reads up to the head of the final answer, and passes on those before it.
func (x *express) readHead(w *upstream.Wire) (*http1.Response, error) {
	for range maxInterim {
		resp, err := w.Reader().ReadResponse(x.q.Method)
		switch {
		case err != nil:
			return nil, err
		case resp.Status >= 200:
			return resp, nil
		case resp.Status == http.StatusSwitchingProtocols:
			return nil, &http1.Error{Status: http.StatusBadGateway, Reason: "switches protocols without being asked"}
		case x.q.Minor == 0:
			continue
		}
		b := x.appendAnswer(x.out[len(x.out):], resp) // the request is kept
		if err := x.write(http1.AppendEnd(b)); err != nil {
			return nil, err
		}
	}
	return nil, &http1.Error{Status: http.StatusBadGateway, Reason: "too many informational answers"}
}

// failed is an exchange without the head of an answer.
func (x *express) failed(w *upstream.Wire, err error, sent bool) bool {
	var gone *clientError
	if errors.As(err, &gone) {
		_, _ = w.Failed(x.d.life.ctx, err, sent) // there is nobody to tell
		return x.ended(err)
	}
	reason, stale := w.Failed(x.d.life.ctx, err, sent)
	if x.c.Revive() { // it took too long
		return x.missed(&failure{final: problemTimeout, sent: true, err: reason})
	}
	if x.c.Over() {
		return x.ended(&clientError{reason})
	}
	return x.diagnosed(reason, stale)
}

// ended is for a client that has gone before its answer came.
func (x *express) ended(err error) bool {
	x.broken = err
	x.c.Cut()
	return true
}

// refuses reports whether an agent's answer is that it does not serve the request.
func refuses(resp *http1.Response) bool {
	return resp.Status == http.StatusServiceUnavailable && resp.Find("x-usher-refused", 0) >= 0
}

// refused leaves a request to the whole way that the owner does not serve.
func (x *express) refused(w *upstream.Wire, resp *http1.Response) bool {
	h := http.Header{}
	for _, name := range [...]string{"x-usher-refused", "x-usher-dead-for"} {
		if v, ok := resp.Get(name); ok {
			h.Set(name, string(v))
		}
	}
	f := refusalOf(&upstream.Response{Status: resp.Status, Header: h})
	keep := resp.KeepAlive && w.Reader().Whole() && len(w.Reader().Buffered()) == 0
	if x.c.Detach(0) && keep {
		w.Return()
	} else {
		w.Drop()
	}
	return x.missed(f)
}

// answer passes an answer on.
func (x *express) answer(w *upstream.Wire, resp *http1.Response) {
	framing := resp.Framing(x.q.Method)
	x.status = resp.Status
	keep := resp.KeepAlive && framing.Kind != http1.UntilClose
	if authenticatesConnection(resp) {
		x.cc.keep(x.pool, w.Keep())
	}
	form := x.form(framing)
	b := x.appendAnswer(x.out[:0], resp)
	x.out = x.appendFraming(b, resp, form)
	err := x.copy(w, form)
	if !x.c.Detach(serve.Ticks(x.set.Traffic.BodyIdle)) && err == nil {
		err = errCutShort
	}
	// The connection is free before the last bytes have gone to a client that may be slow.
	if err == nil && keep && len(w.Reader().Buffered()) == 0 {
		w.Return()
	} else {
		w.Drop()
	}
	// What has come of an answer that breaks off goes on, too: who gets nothing at all may
	// take it for a connection that died while it was idle, and ask again.
	if werr := x.write(x.out); err == nil {
		err = werr
	}
	if err != nil {
		x.broken = err
		x.c.Cut()
	}
}

// bodyForm is how a body goes to the client.
type bodyForm uint8

const (
	asItIs  bodyForm = iota // with its length, or without any
	chunks                  //
	toClose                 // its end is that of the connection
)

// form is chosen as net/http chooses it.
func (x *express) form(f http1.Framing) bodyForm {
	switch {
	case f.Kind == http1.NoBody, f.Kind == http1.Sized:
		return asItIs
	case x.q.Minor > 0:
		return chunks
	}
	x.c.EndAfter()
	return toClose
}

// appendAnswer appends status line and fields.
func (x *express) appendAnswer(dst []byte, resp *http1.Response) []byte {
	dst, _ = http1.AppendStatusLine(dst, resp.Status, http.StatusText(resp.Status)) // it was read as a status
	f := &resp.Fields
	for i := range f.Len() {
		if f.Hop(i) {
			continue
		}
		name := f.Name(i)
		switch len(name) {
		case 7:
			if http1.EqualFold(name, "trailer") {
				continue
			}
		case 13:
			if x.row == nil && http1.EqualFold(name, "x-usher-error") { // the owner's: it lets no engine set one
				dst = f.AppendTo(dst, i)
				continue
			}
		case 14:
			if http1.EqualFold(name, "content-length") {
				continue
			}
		}
		if proxyAuth(name) || foldedPrefix(name, "x-usher-") {
			continue
		}
		dst = f.AppendTo(dst, i)
	}
	return dst
}

// appendFraming ends the head of the answer.
func (x *express) appendFraming(dst []byte, resp *http1.Response, form bodyForm) []byte {
	switch {
	case form == chunks:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	case form == asItIs && resp.ContentLength >= 0 && resp.Status != http.StatusNoContent:
		dst = http1.AppendLength(dst, resp.ContentLength)
	}
	if resp.Find("date", 0) < 0 {
		dst = append(x.d.wall().UTC().AppendFormat(append(dst, "Date: "...), http.TimeFormat), '\r', '\n')
	}
	if x.set.ShowNode && x.cc.agent == "" {
		dst = append(append(dst, fieldNode+": "...), x.d.nodeName(x.node)...)
		dst = append(dst, '\r', '\n')
	}
	if x.from.secure && x.set.HSTS > 0 && resp.Find("strict-transport-security", 0) < 0 {
		dst = strconv.AppendInt(append(dst, fieldHSTS+": max-age="...), int64(x.set.HSTS/time.Second), 10)
		dst = append(dst, '\r', '\n')
	}
	switch {
	case x.c.LastAnswer():
		dst = append(dst, "Connection: close\r\n"...)
	case x.q.Minor == 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	}
	return http1.AppendEnd(dst)
}

// authenticatesConnection reports whether an answer offers to authenticate its connection.
func authenticatesConnection(resp *http1.Response) bool {
	name := ""
	switch resp.Status {
	case http.StatusUnauthorized:
		name = "www-authenticate"
	case http.StatusProxyAuthRequired:
		name = "proxy-authenticate"
	default:
		return false
	}
	for i := resp.Find(name, 0); i >= 0; i = resp.Find(name, i+1) {
		if connectionAuth(resp.Value(i)) {
			return true
		}
	}
	return false
}

func isClientError(err error) bool {
	var c *clientError
	return errors.As(err, &c) || errors.Is(err, errCutShort)
}

func isNotSent(err error) bool {
	var e *upstream.NotSentError
	return errors.As(err, &e)
}
