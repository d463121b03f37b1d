package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/ushercluster/usher/scripts/lab/history"
)

// socket is the open WebSocket of a session. A goroutine of its own reads it, so that a
// break is noticed when it happens, as in a browser.
type socket struct {
	conn     *websocket.Conn
	door     int
	answered time.Duration // when the last answer was there: it worked then
	requests int64         // that the engine's session had counted

	messages chan []byte
	broken   chan struct{} // closed: err says why
	err      error
}

func (k *socket) listen(ctx context.Context) {
	k.messages, k.broken = make(chan []byte, 1), make(chan struct{})
	go func() {
		defer close(k.broken)
		for {
			_, b, err := k.conn.Read(ctx)
			if err != nil {
				k.err = fmt.Errorf("read answer: %w", err)
				return
			}
			select {
			case k.messages <- b:
			default:
				k.err = errors.New("answers to nothing")
				return
			}
		}
	}()
}

// close waits for the goroutine.
func (k *socket) close() {
	_ = k.conn.CloseNow()
	<-k.broken
}

// keepTalking holds a WebSocket, and opens another one when it breaks.
func (s *session) keepTalking() {
	for {
		k := s.connect()
		if k == nil {
			if !s.l.sleep(s.rng, s.route.failed(s.l.cfg.Rec.Now())) {
				return
			}
			continue
		}
		s.route.worked()
		on := s.converse(k)
		k.close()
		if !on || !s.l.sleep(s.rng, s.route.failed(s.l.cfg.Rec.Now())) {
			return
		}
	}
}

// connect opens a WebSocket at the door that is next.
func (s *session) connect() *socket {
	k := &socket{door: s.route.next(s.l.cfg.Rec.Now())}
	op := s.op(history.Message, k.door)
	op.Detail = history.Opened
	ctx, cancel := context.WithTimeout(s.l.cut, s.l.pace.Patience)
	defer cancel()
	client := &http.Client{Transport: s.l.sockets}
	conn, resp, err := websocket.Dial(ctx, "ws://"+s.l.cfg.Nodes[k.door].Door+s.path("/ws"), &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Cookie": {s.cookie()}},
	})
	op.End = s.l.cfg.Rec.Now()
	k.conn, k.answered = conn, op.End
	if err != nil {
		op.Outcome, op.Detail = history.Unknown, "open: "+err.Error()
		if s.l.cut.Err() == nil {
			s.l.record(op)
		}
		return nil
	}
	s.keep(resp.Header)
	node := resp.Header.Get(nodeHeader)
	if node == "" { // of a door that has no settings yet
		_ = conn.CloseNow()
		op.Outcome, op.Detail = history.Unknown, "open: the answer does not say whose it is"
		s.l.record(op)
		return nil
	}
	k.listen(s.l.cut)
	s.owner = node
	op.Outcome, op.Value = history.OK, s.owner
	s.l.record(op)
	return k
}

// converse sends a message a second until the socket breaks; it reports whether to go on
// with another one.
func (s *session) converse(k *socket) bool {
	for first := true; ; first = false {
		op := s.op(history.Message, k.door)
		wrong, err := k.talk(s.l.cut, s.l.pace.Patience)
		if !s.said(k, op, wrong, err) {
			return s.l.cut.Err() == nil
		}
		if first {
			s.opened()
		}
		pause := time.NewTimer(s.l.jitter(s.rng, s.l.pace.Message))
		select {
		case <-pause.C:
		case <-s.l.quit:
			pause.Stop()
			return false
		case <-k.broken:
			pause.Stop()
			s.said(k, s.op(history.Message, k.door), "", k.err) // nobody was waiting
			return s.l.cut.Err() == nil
		}
	}
}

// said records a message, and reports whether it was answered.
func (s *session) said(k *socket, op history.Op, wrong string, err error) bool {
	op.End = s.l.cfg.Rec.Now()
	switch {
	case err != nil && s.l.cut.Err() != nil:
		return false // cut off by Stop: that says nothing
	case err != nil:
		// The connection broke at some time since the last answer.
		op.Sent, op.Begin, op.Outcome, op.Detail = op.Begin, k.answered, history.Unknown, "since the last answer: "+err.Error()
	case wrong != "":
		op.Outcome, op.Detail = history.Unknown, wrong
	default:
		op.Outcome, op.Value = history.OK, s.owner
		k.answered = op.End
	}
	s.l.record(op)
	return op.Outcome == history.OK
}

// talk asks the engine for the state of the session, which counts its requests. wrong
// says what is not right with the answer.
func (k *socket) talk(ctx context.Context, patience time.Duration) (wrong string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := k.conn.Write(ctx, websocket.MessageText, []byte(`{"select":{}}`)); err != nil {
		return "", fmt.Errorf("send message: %w", err)
	}
	var b []byte
	select {
	case b = <-k.messages:
	case <-k.broken:
		return "", k.err
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the answer: %w", ctx.Err())
	}
	var a struct {
		Requests int64  `json:"requests"`
		Error    string `json:"error"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return "the answer is not the engine's", nil
	}
	if a.Error != "" || a.Requests <= k.requests {
		return fmt.Sprintf("the engine's session counts %d requests after %d, error %q", a.Requests, k.requests, a.Error), nil
	}
	k.requests = a.Requests
	return "", nil
}
