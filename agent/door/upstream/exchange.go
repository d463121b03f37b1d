package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// exchange is one request and its answer on one connection. It is also the
// Response's Body.
type exchange struct {
	ctx  context.Context // of the whole exchange, body included: for telling whose end it was
	req  *Request
	c    *conn
	send *sender // nil without a request body
	stop func() bool

	resp     Response
	plan     bodyPlan
	left     int64 // of a sized body
	chunks   chunkReader
	err      error // what Read says from now on
	finished bool
}

// RoundTrip sends r and returns the head of the final answer. A cancelled ctx closes
// the connection at once, also while the body is read. The errors are ErrBadField,
// *NotSentError, *TimeoutError, *BadAnswerError, *BodyError, ErrNoAnswer, ErrCut, the
// context's cause, or what the socket said; all but the pointers by errors.Is.
//
// A request that met a connection which had died while idle is sent once more on a
// new one, if the engine cannot have acted on it or its method is idempotent, and
// nothing of its body has been read.
func (p *Pool) RoundTrip(ctx context.Context, r *Request) (*Response, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	p.silence.await(p.cfg.Now)
	resp, again, err := p.attempt(ctx, r, false)
	if again {
		p.cfg.Metrics.countRetry()
		resp, _, err = p.attempt(ctx, r, true)
	}
	p.silence.done(p.cfg.Now, err == nil)
	p.cfg.Metrics.countExchange(ctx, err)
	return resp, err
}

// attempt is one try; again says that it failed on a stale connection.
func (p *Pool) attempt(ctx context.Context, r *Request, fresh bool) (resp *Response, again bool, err error) {
	if ctx.Err() != nil {
		return nil, false, &NotSentError{Err: context.Cause(ctx)}
	}
	pin := r.Pin
	if pin != nil && pin.pool != p {
		pin = nil
	}
	c, err := p.acquire(ctx, pin, fresh)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, false, &NotSentError{Err: err}
	}
	x := &exchange{ctx: ctx, req: r, c: c}
	x.resp.x = x
	x.stop = context.AfterFunc(ctx, func() { c.nc.Close() })
	c.begin()
	if err := x.writeHead(); err != nil {
		x.finish(false)
		return nil, c.reused && !x.ours(err), err
	}
	if r.hasBody() {
		x.send = startSender(c, r)
	}
	if err := x.readAnswer(); err != nil {
		answered := c.answered.Load()
		x.finish(false)
		return nil, !answered && x.stale(err), x.explain(err, PhaseHead)
	}
	return &x.resp, false, nil
}

// ours reports whether err is an end that did not come from the engine's side.
func (x *exchange) ours(err error) bool {
	return x.ctx.Err() != nil || isTimeout(err) || x.c.cut.Load()
}

// stale reports whether a connection's end without an answer was that of an idle
// connection, under a request that may be sent again. The exchange is finished.
func (x *exchange) stale(err error) bool {
	return x.c.reused && !x.ours(err) && x.req.idempotent() && !x.send.hasRead()
}

// writeHead leaves the head deadline running. A head that went out in part is not
// a request, so every failure here is a NotSentError.
func (x *exchange) writeHead() error {
	c, bufs := x.c, x.c.pool.cfg.Buffers
	c.beginHead()
	c.setHeadBy(headBy(x.req, c.pool))
	b := bufs.head()
	defer bufs.putHead(b)
	*b = x.req.appendHead((*b)[:0])
	err := c.armWrite(x.bodyIdle())
	if err == nil {
		_, err = c.nc.Write(*b)
	}
	if err == nil {
		return nil
	}
	return &NotSentError{Err: x.explain(fmt.Errorf("write head: %w", err), PhaseSend)}
}

// headBy is when the head of an answer must be there, if r has just been sent.
func headBy(r *Request, p *Pool) time.Time {
	d := pick(r.HeadTimeout, p.cfg.HeadTimeout)
	if d < 0 {
		return time.Time{}
	}
	return p.cfg.Now().Add(d)
}

func (x *exchange) bodyIdle() time.Duration {
	return pick(x.req.BodyIdle, x.c.pool.cfg.BodyIdle)
}

func pick(own, def time.Duration) time.Duration {
	if own != 0 {
		return own
	}
	return def
}

// readAnswer reads heads up to the final one and prepares the body.
func (x *exchange) readAnswer() error {
	bufs := x.c.pool.cfg.Buffers
	b := bufs.head()
	defer bufs.putHead(b)
	for range maxInformational {
		var err error
		if *b, err = readHead(x.c.br, (*b)[:0], maxHead); err != nil {
			return err
		}
		h, err := parseAnswer(string(*b))
		if err != nil {
			return err
		}
		plan, err := planBody(h, x.req.Method)
		switch {
		case err != nil:
			return err
		case h.status == http.StatusSwitchingProtocols:
			return x.upgraded(h)
		case h.status >= 200:
			x.final(h, plan)
			return nil
		}
		x.informational(h)
	}
	return bad("too many informational answers")
}

func (x *exchange) informational(h answerHead) {
	if h.status == http.StatusContinue {
		x.send.proceed()
	}
	if x.req.On1xx != nil {
		CleanHeader(h.header)
		x.req.On1xx(h.status, h.header)
	}
}

func (x *exchange) final(h answerHead, plan bodyPlan) {
	x.plan, x.left = plan, plan.length
	x.c.setBodyIdle(x.bodyIdle())
	if authenticates(x.req.Header, h) && x.c.pin == nil {
		newPin(x.c)
	}
	CleanHeader(h.header)
	x.resp.Status, x.resp.Reason, x.resp.Header = h.status, h.reason, h.header
	x.resp.ContentLength = plan.length
	x.resp.Body = x
	x.resp.Pinned = x.c.pin
	if h.status >= 300 || !plan.keep {
		// The engine does not want the rest. A success may well be streamed while
		// the request is still being sent, and goes on.
		x.send.end()
	}
	if plan.framing == noBody {
		x.err = io.EOF
		x.finish(true)
	}
}

// upgraded hands the connection over after a 101.
func (x *exchange) upgraded(h answerHead) error {
	switch {
	case !x.req.Upgrade:
		return bad("switches protocols without being asked")
	case h.minor != 1 || !hasElement(h.header["Connection"], "upgrade"),
		len(h.header["Upgrade"]) != 1 || !hasElement(h.header["Upgrade"], "websocket"):
		return bad("switches to another protocol than websocket")
	}
	if !x.stop() {
		return context.Cause(x.ctx)
	}
	x.finished, x.err = true, io.EOF
	CleanHeader(h.header)
	x.resp.Status, x.resp.Reason, x.resp.Header = h.status, h.reason, h.header
	x.resp.Body, x.resp.Pinned = http.NoBody, x.c.pin
	var err error
	if x.resp.Conn, x.resp.Buffered, err = x.c.detach(); err != nil {
		x.resp.Conn.Close()
		return fmt.Errorf("clear deadlines after upgrade: %w", err)
	}
	return nil
}

// explain names the cause of a broken exchange: who gave up first is to blame.
func (x *exchange) explain(err error, phase Phase) error {
	var answer *BadAnswerError
	switch cause := x.send.failure(); {
	case x.ctx.Err() != nil:
		return fmt.Errorf("exchange ended: %w", context.Cause(x.ctx))
	case cause != nil:
		return cause
	case x.c.cut.Load():
		return ErrCut
	case errors.As(err, &answer):
		return answer
	case isTimeout(err) && phase == PhaseHead && !x.send.isSent():
		return &TimeoutError{Phase: PhaseSend}
	case isTimeout(err):
		return &TimeoutError{Phase: phase}
	case phase == PhaseHead && !x.c.answered.Load():
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case phase == PhaseHead:
		return fmt.Errorf("read head: %w", err)
	}
	return err
}
