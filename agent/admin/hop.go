package admin

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
)

// hop is a connection for flights of commands. It speaks HTTP/1.1 with the internal routes
// like http.Client does, one request after the other, for less than half of the cost:
// whoever sends a request writes it, and one goroutine reads the answers and notices when
// the connection ends.
type hop struct {
	conn    net.Conn
	answers chan *http.Response // its body is in memory; has room for one
	asked   atomic.Bool         // an answer is due
	dead    chan struct{}       // closed when nothing will come any more
	err     error               // why; to be read then
	idle    *time.Timer         // closes it when it is of no use for too long
	armed   time.Time           // the deadline for writes
}

// maxHops bounds the idle ones to a node.
const maxHops = maxFlights

func newHop(conn net.Conn) *hop {
	return &hop{conn: conn, answers: make(chan *http.Response, 1), dead: make(chan struct{})}
}

// read hands answers on until the connection ends.
func (h *hop) read() {
	defer close(h.dead)
	in := bufio.NewReaderSize(h.conn, 16<<10)
	for {
		resp, err := http.ReadResponse(in, nil) //nolint:bodyclose // it is read to its end below
		if err != nil {
			h.err = err
			return
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err == nil && len(b) > maxAnswer {
			err = fmt.Errorf("the answer is over %d bytes", maxAnswer)
		}
		if err != nil {
			h.err = err
			return
		}
		resp.Body = io.NopCloser(bytes.NewReader(b))
		if !h.asked.CompareAndSwap(true, false) {
			h.err = errors.New("an answer came that nobody had asked for")
			return
		}
		h.answers <- resp
		if resp.Close {
			h.err = io.EOF
			return
		}
	}
}

// exchange sends a request and waits for its answer. A *consensus.NotSentError means that
// no whole request has left.
func (h *hop) exchange(ctx context.Context, request []byte) (*http.Response, error) {
	select {
	case <-h.dead:
		return nil, &consensus.NotSentError{Err: h.err}
	default:
	}
	if time.Until(h.armed) < forwardTimeout {
		h.armed = time.Now().Add(forwardTimeout + coarse)
		_ = h.conn.SetWriteDeadline(h.armed) // fails on a closed connection, as the write will
	}
	h.asked.Store(true)
	if _, err := h.conn.Write(request); err != nil {
		return nil, &consensus.NotSentError{Err: err} // cut off, it is no request
	}
	select {
	case resp := <-h.answers:
		return resp, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-h.dead:
	}
	select {
	case resp := <-h.answers: // and then it ended
		return resp, nil
	default:
		return nil, h.err
	}
}

// flightHead is what stands before the body of a flight.
func flightHead(leader peer.ID, length int) []byte {
	b := make([]byte, 0, 192+length)
	b = append(b, "POST /v1/internal/apply HTTP/1.1\r\nHost: "...)
	b = append(b, leader...)
	b = append(b, "\r\nContent-Type: "+wireType+"\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(length), 10)
	return append(b, "\r\n\r\n"...)
}

// flight brings commands to the leader.
func (f *Forwarder) flight(ctx context.Context, leader peer.ID, in *applyRequest, out *applyAnswer) error {
	body := in.appendWire(make([]byte, 0, 256*len(in.Items)))
	h, err := f.hop(ctx, leader)
	if err != nil {
		return &consensus.NotSentError{Err: fmt.Errorf("call node %s: %w", leader, err)}
	}
	resp, err := h.exchange(ctx, append(flightHead(leader, len(body)), body...)) //nolint:bodyclose // it is in memory
	if err != nil {
		h.conn.Close()
		var notSent *consensus.NotSentError
		if errors.As(err, &notSent) {
			return &consensus.NotSentError{Err: fmt.Errorf("call node %s: %w", leader, notSent.Err)}
		}
		return fmt.Errorf("call node %s: %w", leader, err)
	}
	f.putBack(leader, h)
	return readAnswerOf(resp, leader, out)
}

// hop takes an idle connection to a node, or dials.
func (f *Forwarder) hop(ctx context.Context, leader peer.ID) (*hop, error) {
	for {
		h := f.idleHop(leader)
		if h == nil {
			break
		}
		select {
		case <-h.dead:
		default:
			return h, nil
		}
	}
	conn, err := f.connect(ctx, "", net.JoinHostPort(string(leader), "80"))
	if err != nil {
		return nil, err
	}
	h := newHop(conn)
	if !f.serve(h) {
		conn.Close()
		return nil, errForwarderClosed
	}
	return h, nil
}

// serve reads a new connection's answers; false when the Forwarder is closed.
func (f *Forwarder) serve(h *hop) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.wg.Go(func() {
		h.read()
		h.conn.Close()
	})
	return true
}

// idleHop takes the one that was put back last; nil when there is none.
func (f *Forwarder) idleHop(leader peer.ID) *hop {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.hops[leader]
	if len(all) == 0 {
		return nil
	}
	h := all[len(all)-1]
	all[len(all)-1] = nil
	f.hops[leader] = all[:len(all)-1]
	h.idle.Stop()
	return h
}

// putBack keeps a connection for the next flight, or closes it.
func (f *Forwarder) putBack(leader peer.ID, h *hop) {
	if !f.keep(leader, h) {
		h.conn.Close()
	}
}

func (f *Forwarder) keep(leader peer.ID, h *hop) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.hops[leader]) >= maxHops {
		return false
	}
	f.hops[leader] = append(f.hops[leader], h)
	if h.idle == nil {
		h.idle = time.AfterFunc(peerIdle, func() { f.retire(leader, h) })
	} else {
		h.idle.Reset(peerIdle)
	}
	return true
}

// retire closes a connection that is still idle: the leader may long be another node.
// The connection takes the Forwarder's lock when it closes.
func (f *Forwarder) retire(leader peer.ID, h *hop) {
	if f.forget(leader, h) {
		h.conn.Close()
	}
}

// forget reports whether the connection was idle until now.
func (f *Forwarder) forget(leader peer.ID, h *hop) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.hops[leader]
	i := slices.Index(all, h)
	if i < 0 {
		return false // it was taken in this moment
	}
	if f.hops[leader] = slices.Delete(all, i, i+1); len(f.hops[leader]) == 0 {
		delete(f.hops, leader)
	}
	return true
}
