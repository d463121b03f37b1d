package door

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// ownerGrace is what an owner may take longer than its engine, so that the owner's
// own word on a slow engine comes first.
const ownerGrace = 5 * time.Second

// try has the request served by the engine of b, wherever that is. It returns nil
// when an answer went to the user, whole or broken. With missed, what became of it on
// the short way, the first attempt was made already.
func (x *exchange) try(ctx context.Context, b binding, missed *failure) *failure {
	c := claim{
		session: b.session, engine: b.engine.Name(), open: b.open, age: x.d.age(b.issued), document: x.document,
		client: x.client.addr, door: x.d.nodeName(x.d.cfg.Self), movedFrom: b.movedFrom,
		decided: b.decided, from: x.d.cfg.Self,
	}
	var cookies *engineCookies // nil: those of engines are not touched
	if x.set.Session.Scope == ScopeDocument {
		cookies = readCookies(x.header["Cookie"], cookieTag(b.session))
	}
	served := x.d.nodeName(b.engine.Node()) // now: a node that is being removed has no name afterwards
	x.reply.edit = func(h http.Header) {
		if cookies != nil {
			cookies.rename(h, x.d.wall())
		}
		x.jar.bind(h, b)
		if cookies != nil && x.jar.changed {
			cookies.clearDead(h, x.jar.lives, x.client.secure, maxCleared)
		}
		if x.set.ShowNode {
			h[fieldNode] = []string{served}
		}
	}
	q := x.d.request(x.r, x.reply, x.header, x.body)
	q.Upgrade = x.upgrade
	if cookies != nil {
		cookies.restore(q.Header)
	}
	node := b.engine.Node()
	if node == x.d.cfg.Self {
		if missed != nil {
			return missed
		}
		return x.d.deliver(ctx, c, q, x.reply, x.set.Traffic.WebSocketPing)
	}
	c.write(q.Header)
	return x.reach(ctx, q.Header, node, missed)
}

// reach has the request served by the agent beside its engine, or through another one
// that reaches that. h carries the claim.
func (x *exchange) reach(ctx context.Context, h http.Header, node peer.ID, missed *failure) *failure {
	f := missed
	for range 2 { // the agent may answer an inquiry after it was too slow for this
		var over bool
		if missed == nil {
			f, over = x.approach(ctx, h, node)
		}
		if missed = nil; over || f == nil || f.refused != refusedCut {
			return f
		}
		if s, _ := x.d.vigil.of(node); s == present { // is it only this door?
			select {
			case <-x.d.inquire(node):
			case <-ctx.Done():
			}
		}
		if x.lost(node) {
			f.refused = refusedGone
			return f
		}
		if !x.replayable(f) {
			return f
		}
	}
	return f
}

// approach is one attempt of reach; over says that there is no sense in another one.
func (x *exchange) approach(ctx context.Context, h http.Header, node peer.ID) (f *failure, over bool) {
	if x.lost(node) {
		return refused(refusedGone), true
	}
	if s, _ := x.d.vigil.of(node); s == unheard {
		return x.relayed(ctx, h, node), true
	}
	q := x.d.request(x.r, x.reply, h, x.body)
	q.Upgrade = x.upgrade
	q.HeadTimeout += ownerGrace
	return x.carry(ctx, q, node), false
}

// lost reports whether a node was removed or is given up, by now: the attempt before
// may have waited long.
func (x *exchange) lost(node peer.ID) bool {
	if dir := x.d.cfg.Directory(); dir != nil {
		x.dir = dir
	}
	return x.d.isLost(x.dir, node)
}

// isLost reports whether a node was removed, or was given up by gossip or by this door
// and a witness.
func (d *Door) isLost(dir *Directory, node peer.ID) bool {
	info, known := dir.Nodes[node]
	if !known || lostNode(info.Status) {
		return true
	}
	s, _ := d.vigil.of(node)
	return s == gone
}

// relayed goes through the agent that said that it reaches the owner, which this door does
// not.
func (x *exchange) relayed(ctx context.Context, h http.Header, node peer.ID) *failure {
	_, via := x.d.vigil.of(node)
	if via == "" || !x.body.whole() {
		return refused(refusedCut)
	}
	q := x.d.request(x.r, x.reply, h, x.body)
	q.Upgrade = x.upgrade
	q.Header[fieldVia] = []string{string(node)}
	q.HeadTimeout += 2 * ownerGrace
	x.d.metrics.relays.Inc()
	switch g := x.carry(ctx, q, via); {
	case g == nil:
		return nil
	case g.refused == refusedCut && g.err == nil: // the relay's own word: two agents cannot reach it
		return refused(refusedGone)
	case g.refused == refusedCut, g.refused == refusedGone && g.err != nil:
		g.refused = refusedCut // the relay itself cannot be reached: nothing is known of the owner
		return g
	default:
		return g
	}
}

// request is the request for one attempt; the header is copied.
func (d *Door) request(r *http.Request, p *reply, h http.Header, b *body) *upstream.Request {
	t := d.settings().Traffic
	q := &upstream.Request{
		Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: maps.Clone(h),
		ContentLength: b.length, HeadTimeout: t.HeadTimeout, BodyIdle: t.BodyIdle,
	}
	q.Body, q.StopBody = b.reader()
	if r.ProtoAtLeast(1, 1) {
		q.On1xx = p.informational
	}
	return q
}

// deliver serves a request at the owner: the engine is beside this agent. With ping
// 0 the user is not here but at another door.
func (d *Door) deliver(ctx context.Context, c claim, q *upstream.Request, p *reply, ping time.Duration) *failure {
	l, f := d.owner.begin(ctx, c)
	if f != nil {
		return f
	}
	e := l.e
	c.tell(q.Header)
	if host := e.HostHeader(); host != "" {
		q.Host = host
	}
	conn := connOf(p.r)
	q.Pin = conn.pin(e.pool)
	resp, err := e.pool.RoundTrip(ctx, q)
	if err != nil {
		// A dead engine was refused by begin: one that refuses now has died just now.
		if f = diagnose(ctx, err); f.sent {
			l.end()
		} else {
			l.cancel()
		}
		return f
	}
	defer p.pin(conn, e.pool, resp.Pinned)()
	dropUsher(resp.Header)
	if resp.Status == http.StatusSwitchingProtocols {
		if err := d.tunnel(p, resp, ping, d.cfg.Self, &passage{engine: e.id, lease: l}); err != nil {
			l.end()
			d.broke(p, e.id, err)
		}
		return nil
	}
	defer l.end()
	d.broke(p, e.id, p.answer(resp))
	return nil
}

// carry has another agent serve the request.
func (x *exchange) carry(ctx context.Context, q *upstream.Request, node peer.ID) *failure {
	pool := x.d.peers.to(node)
	q.Pin = x.conn.pin(pool)
	resp, err := pool.RoundTrip(ctx, q)
	if err != nil {
		return diagnose(ctx, err).ofOwner()
	}
	defer x.reply.pin(x.conn, pool, resp.Pinned)()
	if f := refusalOf(resp); f != nil {
		_ = resp.Body.Close() // it is empty
		return f
	}
	code := resp.Header[fieldError] // the owner's: it lets no engine set one
	dropUsher(resp.Header)
	if code != nil {
		resp.Header[fieldError] = code
	}
	if resp.Status == http.StatusSwitchingProtocols {
		x.d.broke(x.reply, x.engine, x.d.tunnel(x.reply, resp, x.set.Traffic.WebSocketPing, node, &passage{engine: x.engine}))
		return nil
	}
	x.d.broke(x.reply, x.engine, x.reply.answer(resp))
	return nil
}

// pin leaves a connection that carries a client's login to that client's connection, or
// ends it with the answer: over HTTP/2 requests have no order, and cannot take turns on it.
func (p *reply) pin(conn *clientConn, pool *upstream.Pool, pinned *upstream.Pin) (after func()) {
	switch {
	case pinned == nil:
	case p.r.ProtoMajor == 1:
		conn.keep(pool, pinned)
	default:
		return pinned.Close
	}
	return func() {}
}

// refusalOf reads the refusal in an agent's answer; nil when it is an answer.
func refusalOf(resp *upstream.Response) *failure {
	code := resp.Header.Get(fieldRefused)
	if code == "" || resp.Status != http.StatusServiceUnavailable {
		return nil
	}
	f := refused(refusal(code))
	if ms, err := strconv.ParseInt(resp.Header.Get(fieldDeadFor), 10, 64); err == nil && ms > 0 {
		f.deadFor = time.Duration(min(ms, 1<<40)) * time.Millisecond
	}
	return f
}
