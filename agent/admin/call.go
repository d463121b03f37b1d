package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// call is one request on its way through a route. It belongs to one goroutine.
type call struct {
	s     *Server
	from  origin
	route *route
	w     *recorder
	r     *http.Request
	ctx   context.Context // ends with the request or the server; see bounded
	who   caller
	asOf  uint64 // revision of the state in which the caller was let in
	began time.Time

	timed  context.Context // ctx and callTimeout; nil before bounded was called
	cancel context.CancelFunc

	stay
	values  url.Values // of the query, once it has been read
	release func()     // of what the handler holds until the end; may be nil

	view  fsm.View // what the answer shows, once it has been read
	shown bool
	stale bool
	age   time.Duration
	cond  condition
}

// stay is what a request has that waits for news.
type stay struct {
	left   bool        // another call has taken its place: see detach
	spot   *spot       // where it waits; nil: in net/http's goroutine
	woke   *wakeup     // how ?wait has ended; nil: it has not begun
	follow func(*call) // goes on after the handler, on a spot
}

// newCall begins a request, which end ends.
func (s *Server) newCall(from origin, rt *route, w http.ResponseWriter, r *http.Request) *call {
	return &call{s: s, from: from, route: rt, w: &recorder{ResponseWriter: w}, r: r, ctx: r.Context(), began: time.Now()}
}

// bounded is the context for work that has no bound of its own. Its time begins with the
// first call, and so not before the end of ?wait; a stream has none.
func (c *call) bounded() context.Context {
	if c.timed == nil {
		c.timed = c.ctx
		if !c.route.streams {
			c.timed, c.cancel = context.WithTimeout(c.ctx, callTimeout)
		}
	}
	return c.timed
}

func (c *call) end() {
	if c.cancel != nil {
		c.cancel()
	}
	if c.release != nil {
		c.release()
	}
	if !c.left {
		c.s.stats.observe(c, time.Since(c.began))
	}
}

// recorder remembers the status that was written.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// answer writes what a JSON handler returned.
func (c *call) answer(out metaHolder, err error) {
	if err != nil {
		c.fail(err)
		return
	}
	m := out.meta()
	m.Stale, m.Age = c.stale, Duration(c.age.Round(time.Second))
	if row, ok := out.(interface{ etag() string }); ok && row.etag() != "" {
		c.w.Header().Set("ETag", `"`+row.etag()+`"`)
	}
	status := c.route.status
	if own, ok := out.(interface{ httpStatus() int }); ok {
		status = own.httpStatus()
	}
	if w, ok := out.(wired); ok {
		c.send(status, wireType, w.appendWire(nil))
		return
	}
	c.write(status, "application/json", out)
}

// fail writes a problem document.
func (c *call) fail(err error) {
	p := c.problemOf(err)
	if p.Status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="usher"`)
	}
	if p.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(p.RetryAfter))
	}
	c.write(p.Status, problemType, p)
}

const writeTimeout = 30 * time.Second

func (c *call) write(status int, contentType string, body any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		// Our own types cannot fail to encode, so this is a defect.
		c.s.log.Error().Err(err).Str(logs.Path, c.route.pattern).Msg("cannot encode answer")
		c.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	c.send(status, contentType, b.Bytes())
}

func (c *call) send(status int, contentType string, body []byte) {
	c.head(contentType)
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body) // whoever asked may be gone
}

// head sets what every answer carries.
func (c *call) head(contentType string) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set(headerIndex, strconv.FormatUint(c.revision(), 10))
	if c.stale {
		h.Set(headerStale, "true")
		h.Set(headerAge, strconv.FormatInt(int64(c.age.Round(time.Second)/time.Second), 10))
	}
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(writeTimeout))
}

func (c *call) revision() uint64 {
	if c.shown {
		return c.view.Revision()
	}
	return c.s.cfg.Backend.View().Revision()
}

// show makes v what the answer shows.
func (c *call) show(v fsm.View) { c.view, c.shown = v, true }

func (c *call) self() peer.ID  { return c.s.cfg.Backend.Self() }
func (c *call) now() time.Time { return c.s.cfg.Now() }
