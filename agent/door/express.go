package door

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/http1"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// express is a request on the short way: of a session that is bound, to an engine that is
// well, with nothing to be done but to pass it on. Nothing is allocated for it. What it
// finds to be less simple it leaves, untouched, to the whole way.
//
// It has three parts: this file decides, expresshead.go writes the request's head,
// expresspass.go carries request and answer.
type express struct {
	d   *Door
	c   *serve.Conn
	cc  *clientConn
	q   *http1.Request
	set *Settings

	began   time.Time
	binding binding      // entry only
	node    peer.ID      // entry only: of the engine
	engine  *ownedEngine // at the owner only
	row     *row         // at the owner only: a request of it is counted
	pool    *upstream.Pool
	claim   wireClaim // of the other agent, at the owner

	own      [maxOwnCookies]ownCookie
	owns     int
	document []byte // its key, in scratch; nil for none
	scratch  []byte
	out      []byte // what is written next
	head     int    // the length of the request's head in out
	status   int
	bytes    int64  // of the answer's body
	id       []byte // of the request
	from     sender // entry only

	idBytes   [32]byte
	addrBytes [64]byte

	broken error // why the answer was cut short
}

var expresses = sync.Pool{New: func() any {
	return &express{out: make([]byte, 0, 16<<10), scratch: make([]byte, 0, 512)}
}}

// maxScratch is what a buffer may have grown to for being kept.
const maxScratch = 128 << 10

func newExpress(d *Door, c *serve.Conn, q *http1.Request) *express {
	x := expresses.Get().(*express)
	cc, _ := c.Net().(*clientConn)
	x.d, x.c, x.cc, x.q, x.set, x.began = d, c, cc, q, d.settings(), d.cfg.Now()
	if cc != nil {
		cc.missed = nil
	}
	return x
}

func (x *express) free() {
	if cap(x.out) > maxScratch || cap(x.scratch) > maxScratch {
		return
	}
	*x = express{out: x.out[:0], scratch: x.scratch[:0]}
	expresses.Put(x)
}

// expressUser is the users' side of the short way.
func (d *Door) expressUser(c *serve.Conn, q *http1.Request) bool {
	x := newExpress(d, c, q)
	defer x.free()
	if x.cc != nil {
		x.cc.lot = d.draw(x.set)
	}
	if !x.simple() || !x.bound() {
		return false
	}
	d.gate.enter()
	defer d.gate.leave()
	d.metrics.inFlight.Inc()
	defer d.metrics.inFlight.Dec()
	if x.node == d.cfg.Self {
		if !x.enter(x.binding.session, d.owner.engines[x.binding.engine.Name()], x.cc.addr()) {
			return false
		}
		defer x.leave()
		return x.account(x.pass((*express).headToEngine))
	}
	if x.pool = d.peers.to(x.node); !x.reachable() {
		return false
	}
	return x.account(x.pass((*express).headToOwner))
}

// wireClaim is what an agent says of the session of a request that it brings.
type wireClaim struct {
	session SessionID
	door    []byte
}

// expressAgent is the short way of requests that other agents bring.
func (d *Door) expressAgent(c *serve.Conn, q *http1.Request) bool {
	x := newExpress(d, c, q)
	defer x.free()
	engine, client, ok := x.readClaim()
	if !ok || !x.plain() {
		return false
	}
	d.gate.enter()
	defer d.gate.leave()
	if !x.enter(x.claim.session, d.owner.engines[string(engine)], clientAddr{text: client}) {
		return false
	}
	defer x.leave()
	done := x.pass((*express).headFromAgent)
	if done {
		x.note()
	}
	return done
}

// readClaim reads the claim of a session that is open.
func (x *express) readClaim() (engine, client []byte, ok bool) {
	if x.cc == nil || x.cc.agent == "" {
		return nil, nil, false
	}
	for i := range x.q.Len() {
		name := x.q.Name(i)
		if !foldedPrefix(name, "x-usher-") {
			continue
		}
		v := x.q.Value(i)
		switch name = name[len(usherPrefix):]; {
		case http1.EqualFold(name, "session"):
			if ok || len(v) != 2*len(x.claim.session) {
				return nil, nil, false
			}
			n, err := hex.Decode(x.claim.session[:], v)
			if ok = err == nil && n == len(x.claim.session); !ok {
				return nil, nil, false
			}
		case http1.EqualFold(name, "engine"):
			engine = v
		case http1.EqualFold(name, "client"):
			client = v
		case http1.EqualFold(name, "door"):
			x.claim.door = v
		case http1.EqualFold(name, "document"):
			if !wellEscaped(v) || len(v) > 3*maxDocumentKey {
				return nil, nil, false
			}
			x.scratch = appendUnescaped(x.scratch[:0], v, true)
			x.document = x.scratch
		case http1.EqualFold(name, "age"): // for a session that must be adopted
		default: // it opens, moves, is to be relayed, or something newer
			return nil, nil, false
		}
	}
	return engine, client, ok
}

// simple reports whether the request itself asks for nothing special.
func (x *express) simple() bool {
	q := x.q
	switch {
	case x.cc == nil, x.set.AccessLog == AccessAll, x.cc.lot == marked, x.set.Session.Scope != ScopeBrowser, x.set.Session.ClientKeyHeader != "":
		return false
	case !x.plain(), isOwnPath(q.Path):
		return false
	case x.set.Traffic.MaxBodyBytes > 0 && q.ContentLength > x.set.Traffic.MaxBodyBytes:
		return false
	}
	return true
}

// plain is the part of simple that holds for either side.
func (x *express) plain() bool {
	q := x.q
	return !q.WebSocket && !q.Continue && !q.Chunked && q.ContentLength <= maxReplay && q.Host != nil &&
		q.Find("te", 0) < 0 && harmless(q.Path, x.d.private) && !x.cc.pinned() && !offersCredentials(q)
}

// offersCredentials reports whether the request may authenticate its connection.
func offersCredentials(q *http1.Request) bool {
	for i := q.Find("authorization", 0); i >= 0; i = q.Find("authorization", i+1) {
		if connectionAuth(q.Value(i)) {
			return true
		}
	}
	return false
}

// connectionAuth reports whether a list of challenges, or credentials, names a scheme that
// authenticates connections. A word too many costs a connection, not more.
func connectionAuth(v []byte) bool {
	for len(v) > 0 {
		var word []byte
		if i := bytes.IndexAny(v, " ,\t;"); i >= 0 {
			word, v = v[:i], v[i+1:]
		} else {
			word, v = v, nil
		}
		if http1.EqualFold(word, "ntlm") || http1.EqualFold(word, "negotiate") {
			return true
		}
	}
	return false
}

// bound finds the session that the request belongs to, if nothing needs to be decided.
func (x *express) bound() bool {
	if x.identify(); !x.cookies() || x.d.moves.any() || x.d.cfg.Directory() == nil {
		return false
	}
	t, ok := x.token()
	if !ok {
		return false
	}
	x.binding = binding{session: t.session, engine: t.engine, issued: t.issued, moves: t.moves}
	x.node = t.engine.Node()
	return x.findDocument()
}

// token is what the first good cookie says, if this connection has shown it before.
func (x *express) token() (token, bool) {
	for _, c := range x.own[:x.owns] {
		if c.secure != x.from.secure || !c.browser {
			continue
		}
		return x.cc.known(cookieName, c.value)
	}
	return token{}, false
}

// reachable reports whether the owner of the session is as it should be.
func (x *express) reachable() bool {
	dir := x.d.cfg.Directory()
	if dir == nil || x.d.isLost(dir, x.node) {
		return false
	}
	s, _ := x.d.vigil.of(x.node)
	return s == present
}

// enter counts the request of a session that is open here.
func (x *express) enter(id SessionID, e *ownedEngine, addr clientAddr) bool {
	if e == nil {
		return false
	}
	if health, _ := e.Health(); health == peer.Dead {
		return false
	}
	now := x.began.UnixNano()
	r, noted := x.d.owner.table.enterKnown(id, e, now, addr, x.document)
	if r == nil {
		return false
	}
	if !noted {
		x.d.owner.table.note(r, string(x.document), addr.parse())
	}
	x.engine, x.row, x.pool = e, r, e.pool
	return true
}

func (x *express) leave() { x.d.owner.table.leave(x.row, x.d.cfg.Now().UnixNano()) }

// account counts a request that was answered; else the whole way does.
func (x *express) account(done bool) bool {
	if done {
		x.d.metrics.answered(x.status, x.d.cfg.Now().Sub(x.began))
		x.d.metrics.express.Inc()
		x.note()
		if x.set.AccessLog != AccessOff && (x.status < 100 || x.status >= 400 || x.broken != nil) {
			x.log()
		}
	}
	return done
}

// log is exchange's line in the access log, for an error.
func (x *express) log() {
	path, err := url.PathUnescape(string(x.q.Path))
	if err != nil {
		path = string(x.q.Path)
	}
	e := x.d.cfg.AccessLog.Info().Bytes(logs.Method, x.q.Method).Str(logs.Path, path).
		Int(logs.Status, x.status).Int64(fieldLogBytes, x.bytes).Int64(logs.Duration, x.d.cfg.Now().Sub(x.began).Milliseconds()).
		Str(fieldLogRequest, string(x.id)).Bytes(fieldLogClient, x.from.addr.text).
		Str(logs.Engine, string(x.binding.engine)).Str(logs.Session, x.binding.session.Short())
	if len(x.document) > 0 {
		e = e.Bytes(logs.Document, x.document)
	}
	e.Msg("request")
}

// note logs an answer that was cut short.
func (x *express) note() {
	if x.broken == nil {
		return
	}
	kind := "answer_cut"
	if isClientError(x.broken) {
		kind = "client_gone"
	}
	x.d.metrics.failures.WithLabelValues(kind).Inc()
	x.d.log.Debug().Str("kind", kind).Err(x.broken).Msg("answer cut short")
}

// missed leaves a request to the whole way that was tried in vain: with f, which says what
// an engine may know of it, nil when none does.
func (x *express) missed(f *failure) bool {
	if x.q.ContentLength > 0 {
		x.c.GiveBody(bytes.Clone(x.out[x.head:]))
	}
	x.cc.missed = f
	return false
}

// diagnosed is missed for an error of the exchange.
func (x *express) diagnosed(err error, stale bool) bool {
	if stale && (idempotent(x.q.Method) || isNotSent(err)) {
		return x.missed(nil)
	}
	f := diagnose(context.Background(), err)
	if x.row == nil {
		f = f.ofOwner()
	}
	return x.missed(f)
}

// idempotent follows RFC 9110 9.2.2.
func idempotent(method []byte) bool {
	switch string(method) {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
