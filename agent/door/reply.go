package door

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
)

// reply is the way back to whoever asked: a user, or the door of another agent.
type reply struct {
	w    http.ResponseWriter
	r    *http.Request
	rc   *http.ResponseController
	now  func() time.Time
	idle time.Duration
	id   func() string // of the request, for pages
	body *body         // of the request; nil while it is not taken
	buf  *sync.Pool    // of *[]byte
	hsts time.Duration // told to the browser; 0 for nothing
	// depart has a passage take over what is counted and logged of the request; nil when
	// nothing is.
	depart func(*passage)
	// edit adds what is ours to the head of the final answer.
	edit func(http.Header)

	status  int // 0 until a head was sent
	bytes   int64
	renewed time.Time
	broken  bool // the answer was cut short: the connection must be closed
	gone    bool // departed
}

// copySize is the piece in which answers are passed on.
const copySize = 32 << 10

// informational passes a 1xx answer on.
func (p *reply) informational(status int, h http.Header) {
	dropUsher(h)
	out := p.w.Header()
	for name, values := range h {
		out[name] = values
	}
	p.w.WriteHeader(status)
	clear(out)
}

// answer passes a final answer on. An error says why it was cut short; it has been
// noted in broken.
func (p *reply) answer(resp *upstream.Response) error {
	p.head(resp)
	p.renew()
	p.status = resp.Status
	p.w.WriteHeader(resp.Status)
	err := p.copy(resp)
	if cerr := resp.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		p.broken = true
		return err
	}
	for name, values := range resp.Trailer {
		if !hasFoldPrefix(name, usherPrefix) {
			p.w.Header()[http.TrailerPrefix+name] = values
		}
	}
	p.renewed = time.Time{}
	p.renew() // for what net/http still has to flush
	return nil
}

func (p *reply) head(resp *upstream.Response) {
	h := p.w.Header()
	for name, values := range resp.Header {
		if name != "Trailer" {
			h[name] = values
		}
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // net/http would guess one
	}
	if resp.ContentLength >= 0 && resp.Status != http.StatusNoContent {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	if p.edit != nil {
		p.edit(h)
	}
	p.strict(h)
	p.last(h)
}

// strict tells browsers to come by TLS only, unless the engine says so itself.
func (p *reply) strict(h http.Header) {
	if p.hsts > 0 && h[fieldHSTS] == nil {
		h[fieldHSTS] = []string{hstsValue(p.hsts)}
	}
}

const fieldHSTS = "Strict-Transport-Security"

func hstsValue(d time.Duration) string {
	return "max-age=" + strconv.FormatInt(int64(d/time.Second), 10)
}

// last makes this the connection's last answer if the request is not read whole.
func (p *reply) last(h http.Header) {
	if p.body != nil && p.body.unread() && p.r.ProtoMajor == 1 { // of HTTP/2 a stream ends alone
		h["Connection"] = []string{"close"}
	}
}

// copy passes the body on and flushes whatever the engine has flushed.
func (p *reply) copy(resp *upstream.Response) error {
	buf := p.buf.Get().(*[]byte)
	defer p.buf.Put(buf)
	left := resp.ContentLength
	for {
		n, err := resp.Body.Read(*buf)
		if n > 0 {
			p.renew()
			if _, werr := p.w.Write((*buf)[:n]); werr != nil {
				return &clientError{werr}
			}
			p.bytes += int64(n)
			left -= int64(n)
			if n < len(*buf) && left != 0 && err == nil {
				if ferr := p.rc.Flush(); ferr != nil {
					return &clientError{ferr}
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// clientError is a failure to write to whoever asked.
type clientError struct{ err error }

func (e *clientError) Error() string { return "write answer: " + e.err.Error() }
func (e *clientError) Unwrap() error { return e.err }

// renew moves the deadline for writing, coarsely.
func (p *reply) renew() {
	now := p.now()
	if p.idle <= 0 || now.Sub(p.renewed) < renewEvery {
		return
	}
	p.renewed = now
	_ = p.rc.SetWriteDeadline(now.Add(p.idle + renewEvery))
}

// page sends a problem, unless a head was sent already.
func (p *reply) page(pr *problem) {
	if p.status != 0 {
		p.broken = true
		return
	}
	p.renew()
	p.strict(p.w.Header())
	p.last(p.w.Header())
	p.status = pr.Status
	p.bytes += int64(pr.write(p.w, p.r, p.id()))
}

// refuse tells another door that its request is not served here.
func (p *reply) refuse(f *failure) {
	h := p.w.Header()
	h.Set(fieldRefused, string(f.refused))
	if f.refused == refusedDead {
		h.Set(fieldDeadFor, strconv.FormatInt(f.deadFor.Milliseconds(), 10))
	}
	h["Content-Length"] = []string{"0"}
	p.last(h)
	p.renew()
	p.status = http.StatusServiceUnavailable
	p.w.WriteHeader(p.status)
}
