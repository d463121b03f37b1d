package door

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// maxAttempts bounds how often one request is tried anywhere.
const maxAttempts = 4

// exchange is one request of a user on its way through the door.
type exchange struct {
	d        *Door
	r        *http.Request
	conn     *clientConn
	set      *Settings
	dir      *Directory
	client   client
	reply    *reply
	jar      *jar
	header   http.Header // for the engine, without the claim
	body     *body
	upgrade  bool
	document string
	id       string        // of the request; "" before it is known
	lot      lot           // for the access log
	engine   peer.EngineID // that answered, or was tried last
	session  SessionID
}

// serveUser is the handler of the users' side.
func (d *Door) serveUser(w http.ResponseWriter, r *http.Request) {
	began := d.cfg.Now()
	d.metrics.inFlight.Inc()
	defer d.metrics.inFlight.Dec()
	set := d.settings()
	x := &exchange{d: d, r: r, conn: connOf(r), set: set, dir: d.cfg.Directory(), reply: d.newReply(w, r, set)}
	x.reply.id = x.requestID
	x.reply.depart = func(g *passage) {
		x.reply.gone = true
		g.user, g.began, g.line = true, began, x.line()
	}
	if r.ProtoMajor == 1 {
		x.lot, x.conn.lot = x.conn.lot, notDrawn // before the short way was tried
	}
	if x.lot == notDrawn {
		x.lot = d.draw(set)
	}
	x.run()
	if !x.reply.gone {
		d.account(x, began)
	}
	if x.reply.broken {
		panic(http.ErrAbortHandler) // the way to cut the connection, without a log line
	}
}

func (d *Door) newReply(w http.ResponseWriter, r *http.Request, set *Settings) *reply {
	return &reply{
		w: w, r: r, rc: http.NewResponseController(w), now: d.cfg.Now, id: func() string { return d.requestID(r.Header, true) },
		idle: set.Traffic.BodyIdle, buf: &d.copies,
	}
}

// requestID is made when it is first asked for.
func (x *exchange) requestID() string {
	if x.id == "" {
		x.id = x.d.requestID(x.r.Header, x.client.trusted)
	}
	return x.id
}

// run takes the request through the steps up to forwarding.
func (x *exchange) run() {
	if pr := checkHead(x.r, x.d.cfg.Private); pr != nil {
		x.refuse(pr)
		return
	}
	if x.r.Host == "" { // HTTP/1.0: the name of this server is the address it was found by
		x.r.Host = x.conn.LocalAddr().String()
	}
	x.client = identify(x.r, x.conn.secure, x.conn.networks(x.set))
	if x.client.secure {
		x.reply.hsts = x.set.HSTS
	}
	mine, rest := splitCookies(x.r.Header["Cookie"])
	x.jar = newJar(x, mine)
	switch {
	case x.r.URL.Path == statusPath, strings.EqualFold(x.r.URL.Path, statusAlias):
		x.d.status(x.reply)
		return
	case x.r.URL.Path == leavePath:
		x.leave()
		return
	}
	if x.upgrade = wantsWebSocket(x.r); x.upgrade {
		if pr := checkWebSocket(x.r); pr != nil {
			x.refuse(pr)
			return
		}
	}
	if x.dir == nil || !x.d.sealer.ready() {
		x.refuse(problemNotReady)
		return
	}
	x.document = documentKey(x.set.Session.Documents, x.r.URL, x.r.Header)
	x.header = forwardHeader(x.r, x.client, rest)
	x.header[fieldRequestID] = []string{x.requestID()}
	if !x.takeBody() {
		return
	}
	x.forward()
}

// refuse answers with a problem and counts it.
func (x *exchange) refuse(pr *problem) {
	x.d.metrics.refuse(pr.Code)
	x.reply.page(pr)
}

// takeBody prepares the request's body; false when the client failed to send it.
func (x *exchange) takeBody() bool {
	var err error
	x.body, err = newBody(x.r, x.reply.rc, x.set.Traffic, x.d.cfg.Now, true)
	switch {
	case err == nil:
		x.reply.body = x.body
		return true
	case errors.Is(err, errBodyTooLarge):
		x.refuse(problemTooLarge)
	case errors.Is(err, errBodyStalled):
		x.refuse(problemSlow)
	default:
		x.reply.broken = true
	}
	return false
}

// forward finds the session's engine and has the request served, elsewhere if it
// must be.
func (x *exchange) forward() {
	ctx, done := x.body.context(x.r.Context())
	defer done()
	b, pr := x.bind(ctx)
	var tried []peer.EngineID
	repeated := false
	var missed *failure
	if x.r.ProtoMajor == 1 {
		missed = x.conn.lastMissed()
	}
	for range maxAttempts {
		if pr != nil {
			x.refuse(pr)
			return
		}
		b = x.d.moves.follow(b, x.lost)
		x.engine, x.session = b.engine, b.session
		f := x.try(ctx, b, missed)
		if missed = nil; f == nil {
			return
		}
		if pr := x.body.blame(); pr != nil {
			f = &failure{final: pr, sent: true, err: f.err}
		}
		x.d.failed(x, f)
		if !f.sent && b.decided != 0 {
			x.d.chooser.undo(b.engine, b.decided)
		}
		if f.gone {
			x.reply.broken = true
			return
		}
		act, page := decide(attempt{
			failure: *f, opening: b.open == openNew || b.open == openMove,
			replayable: x.replayable(f), repeated: repeated, failAfter: x.set.Place.FailAfter,
		})
		switch act {
		case giveUp:
			x.refuse(page)
			return
		case again:
			repeated = true
		case anew:
			b, pr = x.reopen(ctx, b, tried)
		case elsewhere:
			tried = append(tried, b.engine)
			b, pr = x.relocate(ctx, b, tried)
		}
	}
	x.refuse(problemNoEngine)
}

// replayable reports whether the request can be sent once more (RFC 9110 9.2.2).
func (x *exchange) replayable(f *failure) bool {
	if x.reply.status != 0 || !x.body.whole() {
		return false
	}
	if !f.sent {
		return true
	}
	switch x.r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// bind is the session that the request belongs to: the cookie's, the client key's,
// or a new one.
func (x *exchange) bind(ctx context.Context) (binding, *problem) {
	if t, ok := x.jar.current(); ok {
		b := binding{session: t.session, engine: t.engine, issued: t.issued, moves: t.moves}
		x.d.moves.learn(b)
		return b, nil
	}
	if key := x.clientKey(); key != "" {
		sum := sha256.Sum256([]byte("client-key\x00" + key + "\x00" + x.jar.scoped(x.document)))
		return x.d.place(ctx, x.want(SessionID(sum[:16]), x.d.wall(), openKey, nil))
	}
	return x.open(ctx, nil)
}

func (x *exchange) clientKey() string {
	if x.set.Session.ClientKeyHeader == "" {
		return ""
	}
	return x.r.Header.Get(x.set.Session.ClientKeyHeader)
}

// open places a new session.
func (x *exchange) open(ctx context.Context, tried []peer.EngineID) (binding, *problem) {
	id, err := newSessionID(x.d.cfg.Rand)
	if err != nil {
		x.d.log.Error().Err(err).Msg("no randomness for a session")
		return binding{}, problemInternal
	}
	return x.d.place(ctx, x.want(id, x.d.wall(), openNew, tried))
}

// reopen places a new session in the stead of one that is over, the same for all
// requests that still carry the old one.
func (x *exchange) reopen(ctx context.Context, over binding, tried []peer.EngineID) (binding, *problem) {
	return x.d.moves.do(over, x.d.cfg.Now(), false, func() (binding, *problem) {
		return x.open(context.WithoutCancel(ctx), tried)
	})
}

func (x *exchange) want(id SessionID, issued time.Time, open opening, tried []peer.EngineID) want {
	return want{
		session: id, issued: issued, open: open, exclude: tried,
		request: FilterRequest{Document: x.document, Client: x.client.addr.String(), Path: x.r.URL.Path},
	}
}

// relocate finds another engine for a session that cannot be served where it is.
func (x *exchange) relocate(ctx context.Context, b binding, tried []peer.EngineID) (binding, *problem) {
	if b.open == openNew || b.open == openKey {
		return x.d.place(ctx, x.want(b.session, b.issued, b.open, tried))
	}
	return x.d.moves.do(b, x.d.cfg.Now(), x.lost(b.engine.Node()), func() (binding, *problem) {
		w := x.want(b.session, b.issued, openMove, tried)
		w.from, w.moves = b.engine, b.moves+1
		to, pr := x.d.place(context.WithoutCancel(ctx), w) // others wait for it too
		if pr == nil {
			x.d.moved(b, to)
		}
		return to, pr
	})
}
