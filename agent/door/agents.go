package door

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

// serveAgent is the handler of the agents' side: questions for places, the ends of
// sessions, requests of sessions whose engine is here, and for others to be relayed
// once.
func (d *Door) serveAgent(w http.ResponseWriter, r *http.Request) {
	p := d.newReply(w, r, d.settings())
	conn := connOf(r)
	switch {
	case conn == nil || conn.agent == "":
		p.page(problemNotFound)
	case conn.missed != nil:
		d.respond(p, conn.lastMissed())
	case r.Header[fieldVia] != nil:
		d.respond(p, d.relay(p))
	case r.Header[fieldSession] != nil:
		d.respond(p, d.host(p))
	case r.URL.Path == askPath:
		answerControl(p, func(b askBatch) (answerBatch, error) { return d.answerAsks(conn.agent, b) })
	case r.URL.Path == endPath:
		answerControl(p, d.answerEnd)
	case r.URL.Path == reachPath:
		answerControl(p, d.answerReach)
	default:
		p.page(problemNotFound)
	}
	if p.broken {
		panic(http.ErrAbortHandler) // net/http's way to cut the connection, without a log line
	}
}

// respond tells the other agent of a failure; nil is an answer that has been sent.
func (d *Door) respond(p *reply, f *failure) {
	switch {
	case f == nil:
	case f.gone || p.status != 0:
		p.broken = true
	case f.final != nil:
		p.page(f.final)
	default:
		p.refuse(f)
	}
	if f != nil && f.err != nil && !f.gone {
		d.log.Debug().Err(f.err).Str("refused", string(f.refused)).Msg("request of another door not served")
	}
}

// host serves a request whose engine is beside this agent. It is never forwarded.
func (d *Door) host(p *reply) *failure {
	r := p.r
	c, err := readClaim(r.Header)
	if err != nil {
		return &failure{final: problemHead, err: err}
	}
	if conn := connOf(r); conn != nil {
		c.from = conn.agent
	}
	if isPrivate(r.URL.Path, d.cfg.Private) {
		return &failure{final: problemNotFound}
	}
	q, err := d.incoming(p)
	if err != nil {
		return &failure{gone: true, err: err}
	}
	ctx, done := p.body.context(r.Context())
	defer done()
	return d.deliver(ctx, c, q, p, 0)
}

// relay passes a request on to the owner that another door cannot reach, and no
// further: what it sends carries no fieldVia.
func (d *Door) relay(p *reply) *failure {
	r := p.r
	node := peer.ID(r.Header.Get(fieldVia))
	dir := d.cfg.Directory()
	if dir == nil || node == d.cfg.Self {
		return refused(refusedCut)
	}
	if d.isLost(dir, node) {
		return refused(refusedGone)
	}
	q, err := d.incoming(p)
	if err != nil {
		return &failure{gone: true, err: err}
	}
	delete(q.Header, fieldVia)
	q.HeadTimeout += ownerGrace
	ctx, done := p.body.context(r.Context())
	defer done()
	resp, err := d.peers.to(node).RoundTrip(ctx, q)
	if err != nil {
		return diagnose(ctx, err).ofOwner()
	}
	if resp.Pinned != nil {
		// Authentication by connection does not survive a relay: end it rather than
		// share it.
		defer resp.Pinned.Close()
	}
	engine := peer.MakeEngineID(node, strings.Clone(r.Header.Get(fieldEngine)))
	if resp.Status == http.StatusSwitchingProtocols {
		d.broke(p, engine, d.tunnel(p, resp, 0, node, &passage{engine: engine}))
		return nil
	}
	d.broke(p, engine, p.answer(resp))
	return nil
}

// incoming is a request of another agent made ready to go on.
func (d *Door) incoming(p *reply) (*upstream.Request, error) {
	t := d.settings().Traffic
	t.MaxBodyBytes = 0 // the door where the user arrived has seen to it
	b, err := newBody(p.r, p.rc, t, d.cfg.Now, false)
	if err != nil {
		return nil, err
	}
	p.body = b
	upgrade := wantsWebSocket(p.r)
	q := d.request(p.r, p, p.r.Header, b)
	upstream.CleanHeader(q.Header)
	q.Upgrade = upgrade
	return q, nil
}

// answerControl serves one call between agents.
func answerControl[In, Out any](p *reply, f func(In) (Out, error)) {
	var in In
	p.renew()
	_ = p.rc.SetReadDeadline(p.now().Add(askLife))
	body, err := io.ReadAll(http.MaxBytesReader(p.w, p.r.Body, maxControlBytes))
	_ = p.rc.SetReadDeadline(time.Time{})
	if err == nil && p.r.Method != http.MethodPost {
		err = errors.New("method is not POST")
	}
	if err == nil {
		err = json.Unmarshal(body, &in)
	}
	var out Out
	if err == nil {
		out, err = f(in)
	}
	var b []byte
	if err == nil {
		b, err = json.Marshal(out)
	}
	if err != nil {
		p.page(problemHead)
		return
	}
	p.w.Header().Set("Content-Type", "application/json")
	p.status = http.StatusOK
	_, _ = p.w.Write(b) // an agent that has gone is noticed by its connection
}

type endRequest struct {
	Sessions []string `json:"sessions"`
}

type endAnswer struct {
	Ended int `json:"ended"`
}

// maxEnds bounds one call: a browser has no more cookies than that.
const maxEnds = maxDocumentCookies + 1

// answerEnd ends sessions here, on the wish of their user at another door.
func (d *Door) answerEnd(q endRequest) (endAnswer, error) {
	var a endAnswer
	if len(q.Sessions) > maxEnds {
		return a, errors.New("too many sessions in one call")
	}
	for _, s := range q.Sessions {
		id, err := ParseSessionID(s)
		if err != nil {
			return a, err
		}
		if d.CloseSession(id) {
			a.Ended++
		}
	}
	return a, nil
}

// endAt ends sessions at their owner.
func (d *Door) endAt(ctx context.Context, node peer.ID, ids []SessionID) error {
	if node == d.cfg.Self {
		for _, id := range ids {
			d.CloseSession(id)
		}
		return nil
	}
	q := endRequest{}
	for _, id := range ids {
		q.Sessions = append(q.Sessions, id.String())
	}
	ctx, cancel := context.WithTimeout(ctx, askLife)
	defer cancel()
	var a endAnswer
	return d.control(ctx, node, endPath, q, &a)
}
