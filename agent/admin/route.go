package admin

import (
	"net/http"
	"reflect"

	"github.com/ushercluster/usher/fsm"
)

// route is one row of the table that mux, authorisation, OpenAPI document and
// tests are made from.
type route struct {
	method  string
	pattern string // of http.ServeMux, without the method
	summary string
	access
	kind   fsm.Kind // the command it proposes; 0 for none
	status int      // of success

	fallback    bool        // a read that is answered stale when there is no quorum
	conditional bool        // takes If-Match and If-None-Match
	optional    bool        // the body may be left out
	list        bool        // pages by limit and cursor
	tables      fsm.Tables  // that ?index= waits for
	streams     bool        // an answer without end: no deadline, counted apart
	query       []parameter // beside those that all routes of its sort have

	in, out reflect.Type // of the bodies; nil for none, or none that is JSON
	handle  func(*call)  // writes the answer
}

// access is who may use a route.
type access struct {
	role  fsm.Role // what the caller needs; "" only if open or internal
	open  bool     // no credentials are needed
	edges bool     // an internal route that nodes of class edge may use too
	local bool     // on this machine alone: on the socket, or over TCP from loopback
}

// parameter is a query parameter.
type parameter struct{ name, help string }

// answer is what a JSON handler returns: a pointer to it has Meta.
type answer[T any] interface {
	*T
	metaHolder
}

// attribute changes a row of the table.
type attribute func(*route)

func withFallback(r *route)     { r.fallback = true }
func withCondition(r *route)    { r.conditional = true }
func withOptionalBody(r *route) { r.optional = true }
func withPages(r *route)        { r.list = true }

// withTables says what the answer is made from: ?index= waits for changes there, and
// not for any.
func withTables(t fsm.Tables) attribute { return func(r *route) { r.tables = t } }

func withStatus(code int) attribute { return func(r *route) { r.status = code } }

func withQuery(name, help string) attribute {
	return func(r *route) { r.query = append(r.query, parameter{name, help}) }
}

// readRoute is a GET that answers JSON.
func readRoute[Out any, P answer[Out]](pattern string, role fsm.Role, summary string, h func(*call) (Out, error), as ...attribute) route {
	r := route{
		method: http.MethodGet, pattern: pattern, access: access{role: role}, summary: summary, status: http.StatusOK,
		out: reflect.TypeFor[Out](), tables: fsm.Everything,
		handle: func(c *call) {
			out, err := h(c)
			c.answer(P(&out), err)
		},
	}
	return r.with(as)
}

// writeRoute is a request with a JSON body, Nothing for none, that answers JSON. The
// role is the one that the command's kind needs.
func writeRoute[In, Out any, P answer[Out]](method, pattern string, kind fsm.Kind, summary string, h func(*call, In) (Out, error), as ...attribute) route {
	r := route{
		method: method, pattern: pattern, access: access{role: kind.Role()}, kind: kind, summary: summary, status: http.StatusOK,
		in: reflect.TypeFor[In](), out: reflect.TypeFor[Out](),
	}
	if r.in == reflect.TypeFor[Nothing]() {
		r.in = nil
	}
	r.handle = func(c *call) {
		var in In
		if err := c.decode(&in); err != nil {
			c.fail(err)
			return
		}
		out, err := h(c, in)
		c.answer(P(&out), err)
	}
	return r.with(as)
}

// actionRoute is a writeRoute that proposes no command of its own.
func actionRoute[In, Out any, P answer[Out]](method, pattern string, role fsm.Role, summary string, h func(*call, In) (Out, error), as ...attribute) route {
	r := writeRoute[In, Out, P](method, pattern, 0, summary, h, as...)
	r.role = role
	return r
}

func (r route) with(as []attribute) route {
	for _, a := range as {
		a(&r)
	}
	return r
}
