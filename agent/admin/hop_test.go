package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// hopRig is a Forwarder and a leader that a test plays.
type hopRig struct {
	*testing.T
	f     *Forwarder
	ln    net.Listener
	dials int
}

func newHopRig(t *testing.T) *hopRig {
	network := memnet.New()
	from, to := network.Host("a", "10.0.0.1"), network.Host("b", "10.0.0.2")
	ln, err := to.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	r := &hopRig{T: t, ln: ln}
	r.f = NewForwarder(func(ctx context.Context, _ peer.ID) (net.Conn, error) {
		r.dials++
		return from.DialContext(ctx, "tcp", "10.0.0.2:80")
	}, nil)
	t.Cleanup(func() {
		r.f.Close()
		ln.Close()
	})
	return r
}

// accept plays the leader on the next connection.
func (r *hopRig) accept(play func(c net.Conn, in *bufio.Reader)) {
	go func() {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		play(c, bufio.NewReader(c))
	}()
}

// answer reads a flight and gives each of its commands a revision.
func (r *hopRig) answer(c net.Conn, in *bufio.Reader) bool {
	req, err := http.ReadRequest(in)
	if err != nil {
		return false
	}
	b, err := io.ReadAll(req.Body)
	var q applyRequest
	if err := errors.Join(err, q.readWire(b)); err != nil || req.URL.Path != "/v1/internal/apply" || req.Header.Get("Content-Type") != wireType {
		r.Errorf("%s %s: %v", req.Method, req.URL, err)
	}
	a := applyAnswer{Items: make([]applyResult, len(q.Items))}
	for i := range a.Items {
		a.Items[i].Revision = 7
	}
	body := a.appendWire(nil)
	_, err = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: %s\r\n\r\n%s", len(body), wireType, body)
	return err == nil
}

func (r *hopRig) apply(ctx context.Context) (fsm.Result, error) {
	return r.f.Apply(ctx, "b", fsm.Proposal{ID: fsm.CommandID{1}, Command: &fsm.RenameCluster{Name: "c"}})
}

func (r *hopRig) applied() {
	r.Helper()
	if res, err := r.apply(r.Context()); err != nil || res.Revision != 7 {
		r.Errorf("%+v, %v", res, err)
	}
}

func TestHopIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHopRig(t)
		ended := make(chan time.Time, 2)
		serve := func(c net.Conn, in *bufio.Reader) {
			for more := true; more; {
				if _, err := in.Peek(1); err != nil {
					ended <- time.Now()
					return
				}
				more = r.answer(c, in)
			}
		}
		r.accept(serve)
		began := time.Now()
		for range 3 {
			r.applied()
		}
		if r.dials != 1 {
			t.Errorf("%d connections for three flights", r.dials)
		}
		// Nobody needs it any more: the leader may be another node.
		if at := <-ended; at.Sub(began) != peerIdle {
			t.Errorf("it is closed after %v", at.Sub(began))
		}
		r.accept(serve)
		r.applied()
		if r.dials != 2 {
			t.Errorf("%d connections after a rest", r.dials)
		}
	})
}

// TestHopThatEnded: a connection that ended while nobody used it costs nothing.
func TestHopThatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHopRig(t)
		r.accept(func(c net.Conn, in *bufio.Reader) { r.answer(c, in) })
		r.applied()
		synctest.Wait() // it is closed
		r.accept(func(c net.Conn, in *bufio.Reader) { r.answer(c, in) })
		r.applied()
	})
}

// TestHopOutcomes tells what was certainly not sent from what may have been done.
func TestHopOutcomes(t *testing.T) {
	for name, tt := range map[string]struct {
		play    func(c net.Conn, in *bufio.Reader)
		notSent bool
	}{
		"refused":              {play: nil, notSent: true},
		"ends after a request": {play: func(_ net.Conn, in *bufio.Reader) { _, _ = http.ReadRequest(in) }},
		"no HTTP": {play: func(c net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(c, "hello\r\n\r\n")
		}},
		"half an answer": {play: func(c net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
		}},
		"no answer": {play: func(_ net.Conn, in *bufio.Reader) { _, _ = io.Copy(io.Discard, in) }},
		"does not lead": {notSent: true, play: func(c net.Conn, in *bufio.Reader) {
			_, _ = http.ReadRequest(in)
			body := string(notLeader().json())
			fmt.Fprintf(c, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", problemType, len(body), body)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newHopRig(t)
				if tt.play == nil {
					r.ln.Close()
				} else {
					r.accept(tt.play)
				}
				began := time.Now()
				_, err := r.apply(t.Context())
				var notSent *consensus.NotSentError
				if err == nil || errors.As(err, &notSent) != tt.notSent {
					t.Errorf("%T: %v", err, err)
				}
				if took := time.Since(began); took > forwardTimeout {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestHopUnasked: a leader that talks by itself is not believed.
func TestHopUnasked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newHopRig(t)
		r.accept(func(c net.Conn, in *bufio.Reader) {
			r.answer(c, in)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, in)
		})
		r.applied()
		synctest.Wait()
		r.accept(func(c net.Conn, in *bufio.Reader) { r.answer(c, in) })
		r.applied()
	})
}
