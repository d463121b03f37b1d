package serve

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/http1"
	"github.com/ushercluster/usher/transport/memnet"
)

// world is a server and the means to talk to it, in fake time.
type world struct {
	t              *testing.T
	s              *Server
	server, client *memnet.Host
	done           chan error
	log            bytes.Buffer
}

func bubble(t *testing.T, h http.HandlerFunc, f func(w *world)) {
	t.Helper()
	bubbleWith(t, h, nil, f)
}

func bubbleWith(t *testing.T, h http.HandlerFunc, express func(*Conn, *http1.Request) bool, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		w := &world{t: t, server: n.Host("server", "10.0.0.1"), client: n.Host("client", "10.0.0.2"), done: make(chan error, 1)}
		cfg := Config{Buffers: http1.NewBuffers(http1.Limits{}), Log: zerolog.New(&w.log)}
		w.s = New(h, cfg)
		w.s.Express = express
		l, err := w.server.Listen(t.Context(), "tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		go func() { w.done <- w.s.Serve(l) }()
		f(w)
		w.s.Close()
		w.s.Wait()
		if err := <-w.done; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve returned %v", err)
		}
		if n := w.s.Open(); n != 0 {
			t.Errorf("%d connections outlive the server", n)
		}
	})
}

func (w *world) dial() net.Conn {
	w.t.Helper()
	c, err := w.client.DialContext(context.Background(), "tcp", "10.0.0.1:80")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// say sends bytes and gives all that comes until nothing does for a minute, and whether
// the server closed the connection.
func (w *world) say(request string) (answer string, closed bool) {
	w.t.Helper()
	c := w.dial()
	defer c.Close()
	return w.sayOn(c, request)
}

func (w *world) sayOn(c net.Conn, request string) (answer string, closed bool) {
	w.t.Helper()
	_, _ = io.WriteString(c, request) // an answer may come before all was sent
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(c)
	var ne net.Error
	return undate(string(b)), !errors.As(err, &ne) || !ne.Timeout()
}

// undate takes the Date out of answers.
func undate(s string) string {
	for {
		i := strings.Index(s, "Date: ")
		if i < 0 {
			return s
		}
		s = s[:i] + s[i+strings.Index(s[i:], "\r\n")+2:]
	}
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

// What a client gets, byte for byte.
func TestAnswers(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/length":
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "hello")
		case "/short":
			w.Header().Set("Content-Length", "50")
			_, _ = io.WriteString(w, "hello")
		case "/long":
			w.Header().Set("Content-Length", "3")
			if _, err := io.WriteString(w, "hello"); !errors.Is(err, http.ErrContentLength) {
				t.Errorf("too much written: %v", err)
			}
			_, _ = io.WriteString(w, "hel")
		case "/flushed":
			_, _ = io.WriteString(w, "hel")
			_ = http.NewResponseController(w).Flush()
			_, _ = io.WriteString(w, "lo")
			w.Header().Set(http.TrailerPrefix+"X-End", "yes")
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), holdBack))
		case "/nothing":
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrBodyNotAllowed) {
				t.Errorf("body with 204: %v", err)
			}
		case "/early":
			w.Header().Set("Link", "</a>")
			w.WriteHeader(103)
			w.Header().Del("Link")
			w.WriteHeader(200)
		case "/close":
			w.Header().Set("Connection", "close")
		case "/bad":
			w.Header()["X-Bad"] = []string{"a\r\nb"}
			w.Header()["Bad Name"] = []string{"a"}
		case "/abort":
			_, _ = io.WriteString(w, "hel")
			panic(http.ErrAbortHandler)
		case "/panic":
			panic("a fault")
		case "/echo":
			b, err := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %d %v %s %v", r.Method, b, r.ContentLength, r.TransferEncoding, r.Trailer["X-T"], err)
		default:
			fmt.Fprintf(w, "%s %s %s", r.Proto, r.Host, r.URL)
		}
	}
	bubble(t, h, func(w *world) {
		for _, c := range []struct {
			name, request, answer string
			closed                bool
		}{
			{"plain", get, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /", false},
			{"two at once", get + "GET /2?q HTTP/1.1\r\nHost: b\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nHTTP/1.1 b /2?q", false},
			{"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHTTP/1.1 a /", true},
			{"closed by the handler", "GET /close HTTP/1.1\r\nHost: a\r\n\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true},
			{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: close\r\n\r\nHTTP/1.0  /", true},
			{"HTTP/1.0 that stays", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nHTTP/1.0  /HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /", false},
			{"HTTP/1.0, flushed", "GET /flushed HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", true},
			{"length", "GET /length HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false},
			{"HEAD", "HEAD /length HTTP/1.1\r\nHost: a\r\n\r\n" + "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false},
			{"too short", "GET /short HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", true},
			{"too long", "GET /long HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhel", false},
			{"flushed", "GET /flushed HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nX-End: yes\r\n\r\n", false},
			{"large", "GET /large HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n" + strings.Repeat("x", holdBack) + "\r\n0\r\n\r\n", false},
			{"no content", "GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n", false},
			{"early hints", "GET /early HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
			{"early hints, HTTP/1.0", "GET /early HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true},
			{"fields that cannot be written", "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", false},
			{"aborted", "GET /abort HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nhel\r\n", true},
			{"panic", "GET /panic HTTP/1.1\r\nHost: a\r\n\r\n", "", true},
			{"sized body", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get, "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nPOST abc 3 [] [] <nil>HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /", false},
			{"chunked body", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 31\r\n\r\nPOST abc -1 [chunked] [1] <nil>HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /", false},
			{"chunked body, broken", "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + get, "HTTP/1.1 200 OK\r\nContent-Length: 72\r\n\r\nPOST  -1 [chunked] [] no chunk size where one should be at byte 0", true},
			{"body that waits", "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\nPOST abc 3 [] [] <nil>", false},
			{"body that waits in vain", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHTTP/1.1 a /", true},
			{"body that nobody reads", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get, "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 a /", false},
			{"large body that nobody reads", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nabc", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nHTTP/1.1 a /", true},
			{"bare LF", "GET / HTTP/1.1\nHost: a\r\n\r\n" + get, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 27\r\nConnection: close\r\n\r\nbare LF in a request line\n", true},
		} {
			answer, closed := w.say(c.request)
			if c.name == "chunked body, broken" { // the length is that of the message
				answer, c.answer = answer[strings.Index(answer, "\r\n\r\n"):], c.answer[strings.Index(c.answer, "\r\n\r\n"):]
			}
			if c.name == "bare LF" {
				answer, _, _ = strings.Cut(answer, "\r\n")
				c.answer, _, _ = strings.Cut(c.answer, "\r\n")
			}
			if answer != c.answer || closed != c.closed {
				t.Errorf("%s: closed %v, want %v\n%s", c.name, closed, c.closed, cmp.Diff(c.answer, answer))
			}
		}
		if log := w.log.String(); !strings.Contains(log, "a fault") || strings.Contains(log, "abort Handler") {
			t.Errorf("log: %s", log)
		}
	})
}

// Limits are kept to within a second.
func TestLimits(t *testing.T) {
	bubble(t, func(http.ResponseWriter, *http.Request) {}, func(w *world) {
		for _, c := range []struct {
			name, sent string
			status     string // "" for none
			least      time.Duration
		}{
			{"nothing", "", "", 75 * time.Second},
			{"half a head", "GET / HT", "408", 5 * time.Second},
			{"half a head after a request", get + "GET /", "408", 5 * time.Second},
			{"a request", get, "", 75 * time.Second},
		} {
			conn := w.dial()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
			began := time.Now()
			_, _ = io.WriteString(conn, c.sent)
			b, err := io.ReadAll(conn)
			took := time.Since(began)
			_ = conn.Close()
			last := string(b[max(bytes.LastIndex(b, []byte("HTTP/1.1 ")), 0):])
			if err != nil || took < c.least || took > c.least+lingerTime+3*Tick || c.status != "" && !strings.HasPrefix(last, "HTTP/1.1 "+c.status) {
				t.Errorf("%s: %v after %s, %v", c.name, last, took, err)
			}
		}
		// A head that dribbles has no more time than one that stalls.
		conn := w.dial()
		defer conn.Close()
		began := time.Now()
		for err := error(nil); err == nil && time.Since(began) < time.Minute; {
			time.Sleep(100 * time.Millisecond)
			_, err = io.WriteString(conn, "G")
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("a slow head held its connection for %s", took)
		}
	})
}

// A Handler hears of a client that has gone, whatever became of the request's body, and
// within a second and a half. One that stays is not disturbed, and what it sent meanwhile is
// not lost.
func TestClientsThatGo(t *testing.T) {
	var heard chan time.Duration // of the bubble
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/wait" {
			_, _ = io.WriteString(w, "next")
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		began := time.Now()
		select {
		case <-r.Context().Done():
			heard <- time.Since(began)
		case <-time.After(10 * time.Second):
			_, _ = io.WriteString(w, "served")
		}
	}
	bubble(t, h, func(w *world) {
		heard = make(chan time.Duration, 1)
		for name, request := range map[string]string{
			"no body": "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n",
			"sized":   "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
			"chunked": "POST /wait HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		} {
			c := w.dial()
			_, _ = io.WriteString(c, request)
			synctest.Wait()
			_ = c.Close()
			select {
			case took := <-heard:
				if took > 3*Tick {
					t.Errorf("%s: heard after %s", name, took)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("%s: nobody noticed", name)
				time.Sleep(10 * time.Second)
			}
			c = w.dial()
			_, _ = io.WriteString(c, request)
			time.Sleep(5 * time.Second) // by now it is watched
			answer, closed := w.sayOn(c, get)
			if closed || !strings.Contains(answer, "served") || !strings.HasSuffix(answer, "next") {
				t.Errorf("%s: a client that stayed: %q, closed %v", name, answer, closed)
			}
			_ = c.Close()
		}
	})
}

func TestShutdown(t *testing.T) {
	var finish chan struct{} // of the bubble
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-finish
		}
	}
	bubble(t, h, func(w *world) {
		finish = make(chan struct{})
		idle, used, half, busy := w.dial(), w.dial(), w.dial(), w.dial()
		_, _ = io.WriteString(used, get)
		_, _ = io.WriteString(half, "GET /")
		_, _ = io.WriteString(busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		w.s.LastAnswers()
		if answer, closed := w.say(get); !closed || !strings.Contains(answer, "Connection: close") {
			t.Errorf("after LastAnswers: %q, closed %v", answer, closed)
		}
		short, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		if err := w.s.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown beside a request: %v", err)
		}
		for _, c := range []net.Conn{idle, used} {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if b, err := io.ReadAll(c); err != nil || c == idle && len(b) > 0 {
				t.Errorf("an idle connection: %q, %v", b, err)
			}
		}
		done := make(chan error, 1)
		go func() { done <- w.s.Shutdown(w.t.Context()) }()
		synctest.Wait()
		if answer, closed := w.sayOn(half, " HTTP/1.1\r\nHost: a\r\n\r\n"); !closed || !strings.Contains(answer, "200 OK") {
			t.Errorf("a request whose head had begun: %q, closed %v", answer, closed)
		}
		close(finish)
		if answer, closed := w.sayOn(busy, ""); !closed || !strings.Contains(answer, "200 OK") {
			t.Errorf("a request under way: %q, closed %v", answer, closed)
		}
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// Close ends what a Handler waits for.
func TestClose(t *testing.T) {
	var ended chan struct{} // of the bubble
	bubble(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	}, func(w *world) {
		ended = make(chan struct{})
		c := w.dial()
		_, _ = io.WriteString(c, get)
		synctest.Wait()
		w.s.Close()
		<-ended
		if b, err := io.ReadAll(c); err == nil && len(b) > 0 {
			t.Errorf("after Close: %q", b)
		}
	})
}

func TestHijack(t *testing.T) {
	bubble(t, func(w http.ResponseWriter, r *http.Request) {
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		early, _ := rw.Peek(rw.Reader.Buffered())
		fmt.Fprintf(nc, "early %q;", early)
		if _, err := io.WriteString(w, "x"); !errors.Is(err, http.ErrHijacked) {
			t.Errorf("written after Hijack: %v", err)
		}
		time.Sleep(10 * time.Minute) // no limit of the server holds any more
		line, err := rw.ReadString('\n')
		fmt.Fprintf(nc, "%q %v", line, err)
	}, func(w *world) {
		c := w.dial()
		defer c.Close()
		_, _ = io.WriteString(c, get+"first")
		time.Sleep(time.Minute)
		if n := w.s.Open(); n != 0 {
			t.Errorf("%d connections, one was taken over", n)
		}
		_, _ = io.WriteString(c, " second\n")
		b, err := io.ReadAll(bufio.NewReader(c))
		if want := `early "first";"first second\n" <nil>`; string(b) != want || err != nil {
			t.Errorf("%s, %v, want %s", b, err, want)
		}
	})
}

// What the hook answers, the Handler does not see; what it leaves is whole.
func TestExpress(t *testing.T) {
	var cut cutter // of the bubble
	h := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "whole %s %s", r.URL.Path, b)
	}
	express := func(c *Conn, q *http1.Request) bool {
		switch string(q.Path) {
		case "/express":
			b := http1.AppendLength([]byte("HTTP/1.1 200 OK\r\n"), 2)
			_, err := c.Direct().Write(append(b, "\r\nok"...))
			return err == nil
		case "/body":
			b, _ := c.Reader().ReadBody()
			c.GiveBody(append([]byte(nil), b...))
			return false
		case "/cut":
			c.Cut()
			return true
		case "/wait":
			c.Attach(cut)
			c.Await(Ticks(2 * time.Second))
			<-cut
			if c.Detach(0) {
				t.Error("a request that was cut goes on")
			}
			return true
		}
		return false
	}
	bubbleWith(t, h, express, func(w *world) {
		cut = make(cutter, 1)
		for _, c := range []struct {
			request, answer string
			closed          bool
		}{
			{"GET /express HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwhole /x ", false},
			{"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + get, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nwhole /body abcHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nwhole / ", false},
			{"GET /cut HTTP/1.1\r\nHost: a\r\n\r\n", "", true},
			{"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n", "", true},
		} {
			if answer, closed := w.say(c.request); answer != c.answer || closed != c.closed {
				t.Errorf("%q: closed %v\n%s", c.request, closed, cmp.Diff(c.answer, answer))
			}
		}
		// It is also cut when the client goes, long before the limit.
		c := w.dial()
		_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
		synctest.Wait()
		began := time.Now()
		_ = c.Close()
		for w.s.Open() > 0 {
			time.Sleep(Tick / 5)
		}
		if took := time.Since(began); took > 3*Tick {
			t.Errorf("cut after %s", took)
		}
	})
}

type cutter chan struct{}

func (c cutter) Cut() { c <- struct{}{} }
