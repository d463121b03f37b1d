package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Forwarder calls the internal routes of other agents over connections of ALPN
// usher/api/1. It satisfies consensus.Forwarder: commands that wait for the same
// leader travel together (forward_batch.go). It is safe for concurrent use.
type Forwarder struct {
	dial   func(context.Context, peer.ID) (net.Conn, error)
	http   *http.Client
	view   func() fsm.View
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // flights of commands, and dials

	mu     sync.Mutex
	closed bool
	lanes  map[peer.ID]*lane
	hops   map[peer.ID][]*hop // that are idle
	conns  map[*trackedConn]bool
}

const (
	dialTimeout    = 5 * time.Second
	forwardTimeout = 10 * time.Second // of a flight of commands
	peerIdle       = time.Minute
)

// NewForwarder makes a Forwarder over dial, which must return a connection whose
// other end has proved to be the node. view is this node's state; commands are told
// their outcome when it shows them, as a rule; nil: at once. Close it.
func NewForwarder(dial func(context.Context, peer.ID) (net.Conn, error), view func() fsm.View) *Forwarder {
	f := &Forwarder{dial: dial, view: view, lanes: map[peer.ID]*lane{}, hops: map[peer.ID][]*hop{}, conns: map[*trackedConn]bool{}}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.http = &http.Client{
		Transport: &http.Transport{
			DialContext:            f.connect,
			IdleConnTimeout:        peerIdle,
			MaxIdleConnsPerHost:    4,
			MaxResponseHeaderBytes: maxHeader,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return f
}

// Close ends every call and connection, and waits for what the Forwarder started.
func (f *Forwarder) Close() {
	f.mu.Lock()
	f.closed = true
	conns := f.conns
	f.conns = map[*trackedConn]bool{}
	f.mu.Unlock()
	f.cancel()
	for c := range conns {
		c.Conn.Close()
	}
	f.wg.Wait()
	f.http.CloseIdleConnections()
}

var errForwarderClosed = errors.New("forwarder closed")

// connect dials the node that the URL's host names. http.Transport drops the
// caller's deadline on the way here, so there is one of our own.
func (f *Forwarder) connect(ctx context.Context, _, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, errForwarderClosed
	}
	f.wg.Add(1)
	f.mu.Unlock()
	defer f.wg.Done()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	raw, err := f.dial(ctx, peer.ID(host))
	if err != nil {
		return nil, err
	}
	c := &trackedConn{Conn: raw, f: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		raw.Close()
		return nil, errForwarderClosed
	}
	f.conns[c] = true
	return c, nil
}

// trackedConn is known to its Forwarder until it is closed.
type trackedConn struct {
	net.Conn
	f *Forwarder
}

// Close implements net.Conn.
func (c *trackedConn) Close() error {
	c.f.mu.Lock()
	delete(c.f.conns, c)
	c.f.mu.Unlock()
	return c.Conn.Close()
}

// ask makes one call. A *consensus.NotSentError means that the other agent
// certainly did nothing; a *Problem is its refusal.
func (f *Forwarder) ask(ctx context.Context, node peer.ID, method, path string, in any, out metaHolder) error {
	body, contentType, err := bodyOf(in)
	if err != nil {
		return fmt.Errorf("encode call: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	var t trace
	req, err := http.NewRequestWithContext(t.in(ctx), method, "http://"+string(node)+path, bytes.NewReader(body))
	if err != nil {
		return &consensus.NotSentError{Err: err}
	}
	if in != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := f.http.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		err = fmt.Errorf("call node %s: %w", node, err)
		if t.notSent() {
			return &consensus.NotSentError{Err: err}
		}
		return err
	}
	defer resp.Body.Close()
	return readAnswerOf(resp, node, out)
}

// bodyOf encodes what a call sends; nil is nothing.
func bodyOf(in any) (body []byte, contentType string, err error) {
	switch in := in.(type) {
	case nil:
		return nil, "", nil
	case wired:
		return in.appendWire(nil), wireType, nil
	default:
		body, err = json.Marshal(in)
		return body, "application/json", err
	}
}

func readAnswerOf(resp *http.Response, node peer.ID, out metaHolder) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("call node %s: read answer: %w", node, err)
	}
	if resp.StatusCode < 300 {
		if w, ok := out.(wired); ok {
			err = w.readWire(b)
		} else {
			err = json.Unmarshal(b, out)
		}
		if err != nil {
			return fmt.Errorf("call node %s: read answer: %w", node, err)
		}
		if rev, err := strconv.ParseUint(resp.Header.Get(headerIndex), 10, 64); err == nil {
			out.meta().Revision = rev
		}
		return nil
	}
	p := problemIn(b)
	if p == nil {
		return fmt.Errorf("call node %s: it answered %s", node, resp.Status)
	}
	if p.Code == CodeNotLeader {
		return &consensus.NotSentError{Err: fmt.Errorf("call node %s: %w", node, consensus.ErrNotLeader)}
	}
	return p
}

// trace tells whether a whole request can have left: http.Transport may have tried
// several connections. A request that was cut off while it was written is no
// request, for its body ends early.
type trace struct {
	mu    sync.Mutex
	open  int  // connections on which writing has not been seen to end
	wrote bool // a whole request was written to one
}

func (t *trace) in(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { t.note(1, false) },
		WroteRequest: func(i httptrace.WroteRequestInfo) {
			t.note(-1, i.Err == nil)
		},
	})
}

func (t *trace) note(open int, wrote bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open += open
	t.wrote = t.wrote || wrote
}

func (t *trace) notSent() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.wrote && t.open == 0
}

// MoveCentral asks the leader to hand its role to the voter to, or to any.
func (f *Forwarder) MoveCentral(ctx context.Context, leader, to peer.ID) error {
	return f.ask(ctx, leader, http.MethodPost, "/v1/internal/move", moveRequest{To: to, Token: credential(ctx)}, new(Nothing))
}

// Join passes a machine's request to join on to the leader. A refusal is an
// *identity.JoinError.
func (f *Forwarder) Join(ctx context.Context, leader peer.ID, r identity.JoinRequest) (identity.JoinAnswer, error) {
	var out joinAnswer
	switch err := f.ask(ctx, leader, http.MethodPost, "/v1/internal/join", joinRequest{r}, &out); {
	case err != nil:
		return identity.JoinAnswer{}, err
	case out.Error != nil:
		return identity.JoinAnswer{}, out.Error
	case out.Answer == nil:
		return identity.JoinAnswer{}, fmt.Errorf("call node %s: the answer is empty", leader)
	}
	return *out.Answer, nil
}

// DialBack lets another node try whether a joining machine answers at addr with the
// proof of its nonce.
func (f *Forwarder) DialBack(ctx context.Context, node peer.ID, addr string, nonce []byte) error {
	var out dialBackAnswer
	if err := f.ask(ctx, node, http.MethodPost, "/v1/internal/dialback", dialBackRequest{addr, nonce}, &out); err != nil {
		return err
	}
	if out.Error != "" {
		return errors.New(out.Error)
	}
	return nil
}

// Local is what a node knows of itself.
func (f *Forwarder) Local(ctx context.Context, node peer.ID) (Local, error) {
	var out Local
	err := f.ask(ctx, node, http.MethodGet, "/v1/internal/local", nil, &out)
	return out, err
}

// CloseSession ends a session of a node's engines; false when it is not there.
func (f *Forwarder) CloseSession(ctx context.Context, node peer.ID, id string) (bool, error) {
	err := f.ask(ctx, node, http.MethodDelete, "/v1/internal/sessions/"+segment(id), nil, new(Nothing))
	var p *Problem
	if errors.As(err, &p) && p.Code == CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

func (f *Forwarder) sessions(ctx context.Context, node peer.ID, q sessionQuery) (List[Session], error) {
	values := url.Values{"limit": {strconv.Itoa(q.limit)}}
	for key, v := range map[string]string{"engine": q.Engine, "document": q.Document} {
		if v != "" {
			values.Set(key, v)
		}
	}
	if q.begun {
		values.Set("cursor", cursorOf(q.after))
	}
	var out List[Session]
	err := f.ask(ctx, node, http.MethodGet, "/v1/internal/sessions?"+values.Encode(), nil, &out)
	return out, err
}
