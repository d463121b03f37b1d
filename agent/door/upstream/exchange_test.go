package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ushercluster/usher/transport/memnet"
)

// stalled is a body that gives its text and then blocks until stop.
type stalled struct {
	text string
	gone chan struct{}
}

func newStalled(text string) *stalled { return &stalled{text: text, gone: make(chan struct{})} }

func (s *stalled) stop() { close(s.gone) }

func (s *stalled) Read(p []byte) (int, error) {
	if s.text != "" {
		n := copy(p, s.text)
		s.text = s.text[n:]
		return n, nil
	}
	<-s.gone
	return 0, os.ErrDeadlineExceeded
}

func TestEarlyAnswerEndsTheSending(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
		l.drain()
	}, func(l *lab) {
		body := newStalled("begin")
		began := time.Now()
		l.mustDo(&Request{Method: "POST", Target: "/", Body: body, ContentLength: 1 << 20, StopBody: body.stop}, 413, "no")
		if d := time.Since(began); d != 0 {
			t.Errorf("took %v", d)
		}
		if l.pool.Idle() != 0 {
			t.Error("a connection with half a request on it was kept")
		}
	})
}

// An answer that comes at any moment of the sending, also just before the first
// Read, leaves nobody waiting for the body.
func TestEarlyAnswersAtAnyMoment(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		l.drain()
	}, func(l *lab) {
		began := time.Now()
		for range 2000 {
			body := newStalled("")
			l.mustDo(&Request{Method: "POST", Target: "/", Body: body, ContentLength: 9, StopBody: body.stop}, 413, "")
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

// The body is not wanted from the moment that the head says so.
func TestErrorHeadEndsTheSending(t *testing.T) {
	for _, head := range []string{"413 Too Large\r\n", "200 OK\r\nConnection: close\r\n"} {
		inLab(t, Config{}, func(l *link) {
			_, _ = io.ReadFull(l.request().Body, make([]byte, len("begin")))
			l.say("HTTP/1.1 " + head + "Content-Length: 2\r\n\r\n")
			time.Sleep(10 * time.Second)
			l.say("no")
			l.drain()
		}, func(l *lab) {
			body := newStalled("begin")
			resp, err := l.pool.RoundTrip(l.Context(), &Request{Method: "POST", Target: "/", Body: body, ContentLength: 99, StopBody: body.stop})
			if err != nil {
				l.Fatal(err)
			}
			select {
			case <-body.gone:
			default:
				t.Error("the body was not stopped")
			}
			if b, err := io.ReadAll(resp.Body); string(b) != "no" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
}

// Sending on does not keep a stalled answer alive.
func TestSendingDoesNotMoveTheBodysDeadline(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		l.drain()
	}, func(l *lab) {
		pr, pw := io.Pipe()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				time.Sleep(10 * time.Second)
				if _, err := io.WriteString(pw, "x"); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		_, _, err := l.do(&Request{Method: "POST", Target: "/", Body: pr, ContentLength: -1, StopBody: func() { pr.Close() }})
		if got := isErr[*TimeoutError](l.T, err); got.Phase != PhaseBody || time.Since(began) > 30*time.Second+slack {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		<-done
	})
}

func TestStoppedSenderSpoilsTheConnection(t *testing.T) {
	s := &sender{quit: make(chan struct{}), done: make(chan struct{}), sent: true}
	close(s.done)
	if !s.settle() {
		t.Error("a body that went out is not taken for sent")
	}
	close(s.quit)
	if s.settle() {
		t.Error("the connection would be used again with a write deadline in the past")
	}
}

func TestStreamedAnswerGoesOnBesideTheRequest(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		r := l.request()
		l.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		b := make([]byte, 1)
		for {
			n, err := r.Body.Read(b)
			if n > 0 {
				l.say("1\r\n" + string(b) + "\r\n")
			}
			if err != nil {
				break
			}
		}
		l.say("0\r\n\r\n")
		l.drain()
	}, func(l *lab) {
		pr, pw := io.Pipe()
		resp, err := l.pool.RoundTrip(l.Context(), &Request{Method: "POST", Target: "/", Body: pr, ContentLength: -1})
		if err != nil {
			l.Fatal(err)
		}
		defer resp.Body.Close()
		for _, want := range "echo" {
			fmt.Fprintf(pw, "%c", want)
			b := make([]byte, 1)
			if _, err := io.ReadFull(resp.Body, b); err != nil || b[0] != byte(want) {
				l.Fatalf("got %q, %v; want %c", b, err, want)
			}
		}
		pw.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err != io.EOF {
			l.Fatalf("end: %v", err)
		}
		if l.pool.Idle() != 1 {
			t.Error("the connection was not kept")
		}
	})
}

func TestExpectContinue(t *testing.T) {
	for _, tc := range []struct {
		name, before, answer string
		wait                 time.Duration
		status               int
		kept, read           bool
	}{
		{name: "engine says 100", before: "HTTP/1.1 100 Continue\r\nA: b\r\n\r\n", answer: ok2, status: 200, kept: true, read: true},
		{name: "engine says nothing", answer: ok2, wait: continueWait, status: 200, kept: true, read: true},
		{name: "engine refuses", before: "HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nok", status: 417},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) {
				r := l.request()
				synctest.Wait()
				if l.br.Buffered() > 0 {
					t.Error("the body was sent before 100")
				}
				l.say(tc.before)
				if tc.answer != "" {
					_, _ = io.Copy(io.Discard, r.Body)
					l.say(tc.answer)
				}
				l.drain()
			}, func(l *lab) {
				body := strings.NewReader("body")
				var seen []string
				began := time.Now()
				l.mustDo(&Request{Method: "POST", Target: "/", Header: http.Header{"Expect": {"100-Continue"}}, Body: body, ContentLength: 4,
					On1xx: func(status int, h http.Header) { seen = append(seen, fmt.Sprint(status, h.Get("A"))) }}, tc.status, "ok")
				if d := time.Since(began); d != tc.wait {
					t.Errorf("took %v, want %v", d, tc.wait)
				}
				if read := body.Len() == 0; read != tc.read {
					t.Errorf("body read: %v, want %v", read, tc.read)
				}
				if kept := l.pool.Idle() == 1; kept != tc.kept {
					t.Errorf("connection kept: %v, want %v", kept, tc.kept)
				}
				if tc.name == "engine says 100" && len(seen) != 1 || tc.name != "engine says 100" && len(seen) != 0 {
					t.Errorf("informational answers %v", seen)
				}
			})
		})
	}
}

func TestInformational(t *testing.T) {
	inLab(t, Config{}, answering("HTTP/1.1 103 Early Hints\r\nLink: a\r\nConnection: x\r\nX: 1\r\n\r\nHTTP/1.1 102 P\r\n\r\n"+ok2), func(l *lab) {
		var got []any
		r := get()
		r.On1xx = func(status int, h http.Header) { got = append(got, status, h) }
		l.mustDo(r, 200, "ok")
		if d := cmp.Diff([]any{103, http.Header{"Link": {"a"}}, 102, http.Header{}}, got); d != "" {
			t.Error(d)
		}
	})
}

func TestTimeLimits(t *testing.T) {
	for _, tc := range []struct {
		name  string
		serve func(*link)
		r     func() *Request
		phase Phase
		after time.Duration
	}{
		{"head", func(l *link) { l.drain() }, get, PhaseHead, 300 * time.Second},
		{"half a head", func(l *link) { l.request(); l.say("HTTP/1.1 200 OK\r\n"); l.drain() }, get, PhaseHead, 300 * time.Second},
		{"head of this request", func(l *link) { l.drain() }, func() *Request { r := get(); r.HeadTimeout = 5 * time.Second; return r },
			PhaseHead, 5 * time.Second},
		{"body", func(l *link) { l.request(); l.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"); l.drain() }, get, PhaseBody, 30 * time.Second},
		{"body of this request", func(l *link) { l.request(); l.say("HTTP/1.1 200 OK\r\n\r\nabc"); l.drain() },
			func() *Request { r := get(); r.BodyIdle = 3 * time.Second; return r }, PhaseBody, 3 * time.Second},
		{"engine does not read", func(l *link) { time.Sleep(time.Hour) },
			func() *Request {
				return &Request{Method: "POST", Target: "/", Body: zeros{}, ContentLength: 8 << 20}
			}, PhaseSend, 30 * time.Second},
		{"client does not send", func(l *link) { l.drain() }, func() *Request {
			s := newStalled("abc")
			return &Request{Method: "POST", Target: "/", Body: s, StopBody: s.stop, ContentLength: 8}
		}, PhaseSend, 30 * time.Second},
		{"client sends nothing at all", func(l *link) { l.drain() }, func() *Request {
			s := newStalled("")
			return &Request{Method: "POST", Target: "/", Body: s, StopBody: s.stop, ContentLength: 8}
		}, PhaseSend, 30 * time.Second},
		{"head after a body", func(l *link) { l.drain() }, func() *Request {
			return &Request{Method: "POST", Target: "/", Body: strings.NewReader("x"), ContentLength: 1}
		}, PhaseHead, 300 * time.Second},
		{"no limit but the second", func(l *link) { l.request(); time.Sleep(time.Hour); l.say("HTTP/1.1 200 OK\r\n\r\n"); l.drain() },
			func() *Request { r := get(); r.HeadTimeout = -1; return r }, PhaseBody, time.Hour + 30*time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, tc.serve, func(l *lab) {
				began := time.Now()
				_, _, err := l.do(tc.r())
				if got := isErr[*TimeoutError](l.T, err); got.Phase != tc.phase {
					t.Errorf("phase %s, want %s", got.Phase, tc.phase)
				}
				wantIs(l.T, err, os.ErrDeadlineExceeded)
				if d := time.Since(began); d < tc.after || d > tc.after+slack {
					t.Errorf("after %v, want %v and at most %v more", d, tc.after, slack)
				}
			})
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSlowButSteadyBodies(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		r := l.request()
		b, err := io.ReadAll(r.Body)
		if len(b) != 20 || err != nil {
			t.Errorf("engine got %d bytes, %v", len(b), err)
		}
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
		for range 20 {
			time.Sleep(29 * time.Second)
			l.say("x")
		}
		l.drain()
	}, func(l *lab) {
		pr, pw := io.Pipe()
		go func() {
			for range 20 {
				time.Sleep(29 * time.Second)
				_, _ = io.WriteString(pw, "x")
			}
		}()
		l.mustDo(&Request{Method: "POST", Target: "/", Body: pr, ContentLength: 20}, 200, strings.Repeat("x", 20))
	})
}

func TestSetBodyIdle(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
		time.Sleep(time.Hour)
		l.say("b")
	}, func(l *lab) {
		resp, err := l.pool.RoundTrip(l.Context(), get())
		if err != nil {
			l.Fatal(err)
		}
		resp.SetBodyIdle(0)
		if b, err := io.ReadAll(resp.Body); string(b) != "ab" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
	})
}

func TestCancel(t *testing.T) {
	errGone := errors.New("client is gone")
	for _, tc := range []struct {
		name, answer string
	}{
		{"before the answer", ""},
		{"within the head", "HTTP/1.1 200"},
		{"within the body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var closedAt time.Duration
			inLab(t, Config{}, func(l *link) {
				began := time.Now()
				l.request()
				l.say(tc.answer)
				l.drain()
				closedAt = time.Since(began)
			}, func(l *lab) {
				ctx, cancel := context.WithCancelCause(l.Context())
				time.AfterFunc(10*time.Second, func() { cancel(errGone) })
				resp, err := l.pool.RoundTrip(ctx, get())
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				wantIs(l.T, err, errGone)
			})
			if closedAt != 10*time.Second {
				t.Errorf("the engine saw the end after %v, want 10s", closedAt)
			}
		})
	}
}

func TestCancelBeforeAnything(t *testing.T) {
	inLab(t, Config{}, answering(ok2), func(l *lab) {
		ctx, cancel := context.WithCancel(l.Context())
		cancel()
		_, err := l.pool.RoundTrip(ctx, get())
		isErr[*NotSentError](l.T, err)
		wantIs(l.T, err, context.Canceled)
	})
}

func TestDialFailures(t *testing.T) {
	for _, tc := range []struct {
		name    string
		dial    func(context.Context) (net.Conn, error)
		refused bool
		limit   bool
	}{
		{name: "refused", dial: func(ctx context.Context) (net.Conn, error) {
			return memnet.New().Host("a", "10.0.0.9").DialContext(ctx, "tcp", "10.0.0.9:1")
		}, refused: true},
		{name: "no answer", dial: func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }, limit: true},
		{name: "timed out by the kernel", dial: func(context.Context) (net.Conn, error) { return nil, syscall.ETIMEDOUT }, limit: true},
		{name: "other", dial: func(context.Context) (net.Conn, error) { return nil, errors.New("no") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{Dial: tc.dial}, answering(ok2), func(l *lab) {
				_, _, err := l.do(&Request{Method: "POST", Target: "/", Body: zeros{}, ContentLength: 1})
				isErr[*NotSentError](l.T, err)
				if got := Refused(err); got != tc.refused {
					t.Errorf("refused: %v, want %v (%v)", got, tc.refused, err)
				}
				var limit *TimeoutError
				if got := errors.As(err, &limit); got != tc.limit || got && limit.Phase != PhaseDial {
					t.Errorf("timeout %v, want %v", err, tc.limit)
				}
			})
		})
	}
}

// dyingOnReuse answers once a connection and breaks the second request on it.
func dyingOnReuse(l *link) {
	if l.request() != nil {
		l.say(ok2)
	}
	if l.n == 0 {
		if r := l.request(); r != nil && r.Header.Get("Expect") == "" {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		return // close without an answer
	}
	l.drain()
}

func TestStaleConnection(t *testing.T) {
	for _, tc := range []struct {
		name  string
		r     *Request
		again bool
	}{
		{"get", get(), true},
		{"post", &Request{Method: "POST", Target: "/"}, false},
		{"put whose body has gone", &Request{Method: "PUT", Target: "/", Body: strings.NewReader("x"), ContentLength: 1}, false},
		{"put whose body waits", &Request{Method: "PUT", Target: "/", Header: http.Header{"Expect": {"100-continue"}},
			Body: strings.NewReader("x"), ContentLength: 1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, dyingOnReuse, func(l *lab) {
				l.mustDo(get(), 200, "ok")
				if tc.again {
					l.mustDo(tc.r, 200, "ok")
					if l.dials.Load() != 2 {
						t.Errorf("%d dials, want 2", l.dials.Load())
					}
					return
				}
				_, _, err := l.do(tc.r)
				wantIs(l.T, err, ErrNoAnswer)
				if l.dials.Load() != 1 {
					t.Errorf("%d dials, want 1", l.dials.Load())
				}
			})
		})
	}
}

func TestFreshConnectionIsNotRetried(t *testing.T) {
	inLab(t, Config{}, func(l *link) { l.request() }, func(l *lab) {
		_, _, err := l.do(get())
		wantIs(l.T, err, ErrNoAnswer)
		if l.dials.Load() != 1 {
			t.Errorf("%d dials, want 1", l.dials.Load())
		}
	})
}

func TestHalfAnAnswerIsNotRetried(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say(ok2)
		l.request()
		l.say("HTTP/1.1")
	}, func(l *lab) {
		l.mustDo(get(), 200, "ok")
		_, _, err := l.do(get())
		wantIs(l.T, err, io.ErrUnexpectedEOF)
		if l.dials.Load() != 1 {
			t.Errorf("%d dials, want 1", l.dials.Load())
		}
	})
}

func TestCutBody(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
	} {
		inLab(t, Config{}, speaking(answer), func(l *lab) {
			resp, err := l.pool.RoundTrip(l.Context(), get())
			if err != nil {
				l.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			wantIs(l.T, err, io.ErrUnexpectedEOF)
			if string(b) != "abc" {
				t.Errorf("body %q before the cut, want abc", b)
			}
			if _, again := resp.Body.Read(b); again == nil || again == io.EOF {
				t.Errorf("second read after the cut: %v", again)
			}
		})
	}
}

func TestClientBodyFails(t *testing.T) {
	errClient := errors.New("client went away")
	for _, tc := range []struct {
		name   string
		body   io.Reader
		length int64
		cause  error
	}{
		{"fails", io.MultiReader(strings.NewReader("abc"), failing{errClient}), 8, errClient},
		{"fails in chunks", io.MultiReader(strings.NewReader("abc"), failing{errClient}), -1, errClient},
		{"is short", strings.NewReader("abc"), 8, errBodyShort},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) {
				if _, err := io.ReadAll(l.request().Body); err == nil {
					t.Error("the engine took the body for whole")
				}
			}, func(l *lab) {
				_, _, err := l.do(&Request{Method: "PUT", Target: "/", Body: tc.body, ContentLength: tc.length})
				isErr[*BodyError](l.T, err)
				wantIs(l.T, err, tc.cause)
			})
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An engine that answers and closes while the body is still coming: the write
// breaks, the answer counts.
func TestAnswerBeforeBrokenWrite(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	}, func(l *lab) {
		l.mustDo(&Request{Method: "POST", Target: "/", Body: zeros{}, ContentLength: 8 << 20}, 413, "no")
	})
}

func TestCloseBeforeTheEnd(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
		l.drain()
	}, func(l *lab) {
		resp, err := l.pool.RoundTrip(l.Context(), get())
		if err != nil {
			l.Fatal(err)
		}
		resp.Body.Close()
		resp.Body.Close()
		if _, err := resp.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read after close: %v", err)
		}
		if l.pool.Idle() != 0 {
			t.Error("the connection was kept")
		}
	})
}

func TestUpgrade(t *testing.T) {
	const head = "HTTP/1.1 101 Switching Protocols\r\n"
	for _, tc := range []struct {
		name, answer string
		bad          bool
	}{
		{"websocket", head + "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\nearly", false},
		{"other protocol", head + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", true},
		{"two protocols", head + "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n", true},
		{"without connection", head + "Upgrade: websocket\r\n\r\n", true},
		{"http 1.0", "HTTP/1.0 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) {
				r := l.request()
				if r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Upgrade") != "websocket" {
					t.Errorf("asked with %v", r.Header)
				}
				l.say(tc.answer)
				time.Sleep(time.Hour)
				l.say("late")
				l.drain()
			}, func(l *lab) {
				ctx, cancel := context.WithCancel(l.Context())
				r := get()
				r.Upgrade = true
				resp, err := l.pool.RoundTrip(ctx, r)
				cancel() // the connection is the caller's now
				if tc.bad {
					isErr[*BadAnswerError](l.T, err)
					return
				}
				if err != nil {
					l.Fatal(err)
				}
				if resp.Status != 101 || string(resp.Buffered) != "early" || resp.Header.Get("Sec-Websocket-Accept") != "x" {
					t.Errorf("%d %q %v", resp.Status, resp.Buffered, resp.Header)
				}
				b := make([]byte, 4)
				if _, err := io.ReadFull(resp.Conn, b); err != nil || string(b) != "late" {
					t.Errorf("%q, %v", b, err)
				}
				resp.Conn.Close()
			})
		})
	}
}

func TestUpgradeDeclined(t *testing.T) {
	inLab(t, Config{}, answering("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno"), func(l *lab) {
		r := get()
		r.Upgrade = true
		if resp := l.mustDo(r, 403, "no"); resp.Conn != nil || l.pool.Idle() != 1 {
			t.Error("a declined upgrade is an answer as any other")
		}
	})
}
