package admin

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/transport/memnet"
)

const plainHead = "GET /v1/settings/a.b?stale&x=%20 HTTP/1.1\r\nHost: [::1]:14748\r\nauthorization: Bearer usht_x\r\nX-A: 1 \r\nX-A:2\r\nX-Empty:\r\n\r\n"

func TestPlainRequest(t *testing.T) {
	req, used := plainRequest([]byte(plainHead + "GET /"))
	if req == nil || used != len(plainHead) {
		t.Fatalf("%v, %d bytes", req, used)
	}
	want := http.Header{"Authorization": {"Bearer usht_x"}, "X-A": {"1", "2"}, "X-Empty": {""}}
	if d := cmp.Diff(want, req.Header); d != "" {
		t.Error(d)
	}
	if req.Host != "[::1]:14748" || req.URL.Path != "/v1/settings/a.b" || req.URL.RawQuery != "stale&x=%20" || req.RequestURI != "/v1/settings/a.b?stale&x=%20" {
		t.Errorf("host %q, URL %v, URI %q", req.Host, req.URL, req.RequestURI)
	}
	// What is left to net/http.
	head := func(line string, fields ...string) string {
		return strings.Join(append([]string{line, "Host: a"}, fields...), "\r\n") + "\r\n\r\n"
	}
	const ok = "GET /v1/ HTTP/1.1"
	for name, b := range map[string]string{
		"nothing":                 "",
		"a part":                  plainHead[:len(plainHead)-1],
		"another path":            head("GET /metrics HTTP/1.1"),
		"another method":          head("HEAD /v1/x HTTP/1.1"),
		"a method that is none":   head("get /v1/x HTTP/1.1"),
		"a part of a body":        head("PUT /v1/x HTTP/1.1", "Content-Length: 3") + "ab",
		"a signed length":         head("PUT /v1/x HTTP/1.1", "Content-Length: +1") + "a",
		"two lengths":             head("PUT /v1/x HTTP/1.1", "Content-Length: 1", "Content-Length: 1") + "a",
		"a long body":             head("PUT /v1/x HTTP/1.1", "Content-Length: 70000") + "a",
		"an older version":        head("GET /v1/ HTTP/1.0"),
		"no version":              head("GET /v1/"),
		"absolute-form":           head("GET http://a/v1/ HTTP/1.1"),
		"a space in the target":   head("GET /v1/ x HTTP/1.1"),
		"a control in the target": head("GET /v1/\x00 HTTP/1.1"),
		"a broken escape":         head("GET /v1/%zz HTTP/1.1"),
		"bare line feeds":         strings.ReplaceAll(plainHead[:len(plainHead)-4], "\r\n", "\n") + "\r\n\r\n",
		"a bare one":              head(ok, "A: b\nC: d"),
		"no host":                 ok + "\r\nA: b\r\n\r\n",
		"two hosts":               head(ok, "Host: a"),
		"an empty host":           ok + "\r\nHost:\r\nHost: a\r\n\r\n",
		"a path to clean":         head("POST /v1//x HTTP/1.1"),
		"a path with dots":        head("GET /v1/../x HTTP/1.1"),
		"an odd host":             ok + "\r\nHost: a/b\r\n\r\n",
		"a folded line":           head(ok, "A: b", " c"),
		"space before the colon":  head(ok, "A : b"),
		"no name":                 head(ok, ": b"),
		"no colon":                head(ok, "A"),
		"a name with a quote":     head(ok, `A": b`),
		"a control in a value":    head(ok, "A: b\x00"),
		"a return in a value":     head(ok, "A: b\rc"),
		"other letters":           head(ok, "A: ä"),
		"a read with a body":      head(ok, "Content-Length: 1") + "a",
		"chunks":                  head(ok, "transfer-encoding: chunked"),
		"an upgrade":              head(ok, "Upgrade: h2c"),
		"a wish about the end":    head(ok, "Connection: close"),
		"an expectation":          head(ok, "Expect: 100-continue"),
		"too many fields":         head(ok, strings.Split(strings.Repeat("A: b\n", laneFields), "\n")[:laneFields]...),
	} {
		if req, used := plainRequest([]byte(b)); req != nil || used != 0 {
			t.Errorf("%s: %+v", name, req)
		}
	}
	req, used = plainRequest([]byte(head("PUT /v1/x HTTP/1.1", "Content-Length: 2") + "{}GET"))
	if req == nil || req.ContentLength != 2 || used != len(head("PUT /v1/x HTTP/1.1", "Content-Length: 2"))+2 {
		t.Fatalf("%+v, %d bytes", req, used)
	}
	if b, err := io.ReadAll(req.Body); err != nil || string(b) != "{}" {
		t.Errorf("%q, %v", b, err)
	}
	if req, _ := plainRequest([]byte(head(ok, strings.Split(strings.Repeat("A: b\n", laneFields-1), "\n")[:laneFields-1]...))); req == nil {
		t.Error("as many fields as allowed are refused")
	}
}

// FuzzPlainRequest holds that net/http reads the same in what we take.
func FuzzPlainRequest(f *testing.F) {
	f.Add([]byte(plainHead))
	f.Add([]byte("PUT /v1/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Type: a/b\r\n\r\n{}"))
	f.Add([]byte("GET /v1/ HTTP/1.1\r\nHost: a\r\nPragma: x\r\nA:\tb\t\r\n\r\nGET"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, used := plainRequest(b)
		if got == nil {
			return
		}
		in := bytes.NewReader(b)
		want, err := http.ReadRequest(bufio.NewReaderSize(in, 16))
		if err != nil {
			t.Fatalf("net/http: %v", err)
		}
		if got.Method != want.Method || got.URL.String() != want.URL.String() || got.RequestURI != want.RequestURI || got.Host != want.Host ||
			got.Proto != want.Proto || want.ContentLength != got.ContentLength || want.Close || want.TransferEncoding != nil {
			t.Fatalf("%+v\n%+v", got, want)
		}
		body, err := io.ReadAll(got.Body)
		wantBody, err2 := io.ReadAll(want.Body)
		if err != nil || err2 != nil || !bytes.Equal(body, wantBody) {
			t.Fatalf("body %q, %v; want %q, %v", body, err, wantBody, err2)
		}
		if d := cmp.Diff(want.Header, got.Header); d != "" {
			t.Fatal(d)
		}
		if used != bytes.Index(b, []byte("\r\n\r\n"))+4+len(body) {
			t.Fatalf("%d bytes", used)
		}
	})
}

// laneRig is a lane with a handler that shows what came, and without net/http behind it.
type laneRig struct {
	*testing.T
	lane *fastLane
	host *memnet.Host
	ln   net.Listener
	slow chan struct{} // what /v1/slow waits for

	accepted chan struct{} // closed when nothing is accepted any more
}

func newLaneRig(t *testing.T) *laneRig {
	n := memnet.New()
	r := &laneRig{T: t, host: n.Host("a", "10.0.0.1"), slow: make(chan struct{}), accepted: make(chan struct{})}
	ln, err := r.host.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	sl := newSlots(ln)
	r.lane = newFastLane(r, &lot{slots: sl, returned: newReturned(ln.Addr())}, func(net.Conn) context.Context { return context.Background() }, false)
	r.ln = ln
	go func() {
		_, _ = r.lane.Accept() // ends with the listener
		close(r.accepted)
	}()
	return r
}

func (r *laneRig) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	switch q.URL.Path {
	case "/v1/slow":
		<-r.slow
	case "/v1/panic":
		panic(http.ErrAbortHandler)
	case "/v1/nothing":
		return
	case "/v1/endless":
		w.WriteHeader(200)
		_, _ = io.WriteString(w, "x")
		return
	}
	w.Header().Set("Content-Length", "3")
	_, _ = w.Write([]byte(q.URL.RawQuery + "\r\n")[:3])
}

func (r *laneRig) dial() *laneCaller {
	c, err := r.host.DialContext(r.Context(), "tcp", r.ln.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	return &laneCaller{Conn: c, r: r, in: bufio.NewReader(c)}
}

func (r *laneRig) end() {
	_ = r.ln.Close()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = r.lane.lot.returned.Close()
	r.lane.shut(ctx)
	<-r.accepted
	if n := len(r.lane.slots.all) + len(r.lane.slots.open); n != 0 {
		r.Errorf("%d places are taken", n)
	}
}

type laneCaller struct {
	net.Conn
	r  *laneRig
	in *bufio.Reader
}

func (c *laneCaller) say(text string) {
	if _, err := io.WriteString(c, text); err != nil {
		c.r.Fatal(err)
	}
	synctest.Wait()
}

func (c *laneCaller) hear() string {
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.r.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Date") == "" {
		c.r.Errorf("%v, %v", resp, err)
	}
	return string(b)
}

// over reports how long it takes until the other side closes.
func (c *laneCaller) over() time.Duration {
	began := time.Now()
	if b, err := c.in.ReadByte(); err != io.EOF {
		c.r.Errorf("%q, %v: want the end", b, err)
	}
	c.Close()
	return time.Since(began)
}

func laneGet(path string) string { return "GET /v1/" + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

func onLane(t *testing.T, f func(r *laneRig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newLaneRig(t)
		f(r)
		r.end()
	})
}

func TestFastLaneAnswersInOrder(t *testing.T) {
	onLane(t, func(r *laneRig) {
		c := r.dial()
		c.say(laneGet("?1") + laneGet("?2") + laneGet("?3"))
		for _, want := range []string{"1\r\n", "2\r\n", "3\r\n"} {
			if got := c.hear(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
		for range 3 {
			time.Sleep(idleTimeout - 2*coarse)
			c.say(laneGet("?4"))
			if got := c.hear(); got != "4\r\n" {
				t.Errorf("%q", got)
			}
		}
		if took := c.over(); took > idleTimeout || took < idleTimeout-coarse {
			t.Errorf("idle for %v", took)
		}
		if took := r.dial().over(); took != headerTimeout {
			t.Errorf("silent for %v", took)
		}
	})
}

// TestFastLaneWaitsForTheRest has heads that come in two pieces and in three, and one that
// does not end.
func TestFastLaneWaitsForTheRest(t *testing.T) {
	onLane(t, func(r *laneRig) {
		put := "PUT /v1/?6 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"
		c, text := r.dial(), laneGet("?5")
		c.say(put[:len(put)-1])
		c.say(put[len(put)-1:])
		if got := c.hear(); got != "6\r\n" {
			t.Fatalf("%q", got)
		}
		for n := 1; n < len(text); n++ {
			c.say(text[:n])
			time.Sleep(headerTimeout - 2*coarse)
			c.say(text[n:])
			if got := c.hear(); got != "5\r\n" {
				t.Fatalf("%q", got)
			}
		}
		c.say(text[:9])
		if took := c.over(); took != headerTimeout {
			t.Errorf("half a head for %v", took)
		}
		c = r.dial()
		c.say(text[:3])
		c.say(text[3:9])
		got, err := r.lane.lot.returned.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got.Close()
		r.lane.slots.connState(got, http.StateClosed)
		c.Close()
	})
}

// TestFastLaneHandsOver holds that what is not plain goes to net/http whole.
func TestFastLaneHandsOver(t *testing.T) {
	onLane(t, func(r *laneRig) {
		for name, text := range map[string]string{
			"a write":     "PUT /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
			"a beginning": "GET /v2",
			"a long head": "GET /v1/ HTTP/1.1\r\nHost: a\r\nA: " + strings.Repeat("b", laneBuffer),
			"rubbish":     "\x16\x03\x01",
		} {
			c := r.dial()
			c.say(laneGet("?1"))
			c.hear()
			go func() { _, _ = io.WriteString(c, text) }() // of which nobody may read more than fits
			synctest.Wait()
			got, err := r.lane.lot.returned.Accept()
			if err != nil {
				t.Fatal(err)
			}
			b := make([]byte, len(text))
			if _, err := io.ReadFull(got, b); err != nil || string(b) != text {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			synctest.Wait()
			if n := len(r.lane.conns); n != 0 {
				t.Errorf("%s: %d connections are on the lane", name, n)
			}
			c.Close()
			got.Close()
			r.lane.slots.connState(got, http.StateClosed)
		}
	})
}

func TestFastLaneEndsConnections(t *testing.T) {
	onLane(t, func(r *laneRig) {
		for _, path := range []string{"panic", "nothing"} {
			c := r.dial()
			c.say(laneGet(path))
			if took := c.over(); took != 0 {
				t.Errorf("%s: open for %v", path, took)
			}
		}
		c := r.dial()
		c.say(laneGet("endless") + laneGet("?1"))
		if got := c.hear(); got != "x" {
			t.Errorf("an answer without a length: %q", got)
		}
		if took := c.over(); took != 0 {
			t.Errorf("open for %v", took)
		}
	})
}

// TestFastLaneStops holds that a stop ends what is idle at once, and answers what is not.
func TestFastLaneStops(t *testing.T) {
	onLane(t, func(r *laneRig) {
		idle, used, busy := r.dial(), r.dial(), r.dial()
		used.say(laneGet("?1"))
		used.hear()
		busy.say(laneGet("slow?7"))
		ended := make(chan struct{})
		go func() {
			r.end()
			close(ended)
		}()
		synctest.Wait()
		for _, c := range []*laneCaller{idle, used} {
			if took := c.over(); took != 0 {
				t.Errorf("open for %v", took)
			}
		}
		close(r.slow)
		if got := busy.hear(); got != "7\r\n" {
			t.Errorf("%q", got)
		}
		if took := busy.over(); took != 0 {
			t.Errorf("open for %v", took)
		}
		<-ended
	})
}

// TestFastLaneDoesNotWaitForEver has a caller whose handler does not end.
func TestFastLaneDoesNotWaitForEver(t *testing.T) {
	onLane(t, func(r *laneRig) {
		c := r.dial()
		c.say(laneGet("slow"))
		go func() {
			time.Sleep(2 * closeTimeout)
			close(r.slow)
		}()
		began, ended := time.Now(), make(chan struct{})
		go func() {
			r.end()
			close(ended)
		}()
		if c.over(); time.Since(began) != closeTimeout {
			t.Errorf("cut off after %v", time.Since(began))
		}
		<-ended
	})
}

// TestWaitersGoOnOnTheLane holds that a connection that has waited comes back.
func TestWaitersGoOnOnTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		l := r.line()
		defer l.Close()
		for range 3 {
			l.ask("/v1/settings?wait=1s&index=" + r.revision())
			if status, body := l.answer(); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
			l.ask("/v1/whoami")
			if status, body := l.answer(); status != 200 {
				t.Fatalf("%d %s", status, body)
			}
		}
		// And to net/http, which answers what the lane does not.
		if _, err := io.WriteString(l, "HEAD /v1/whoami HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+r.tok.viewer+"\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(l.in, &http.Request{Method: "HEAD"})
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("%v, %v", resp, err)
		}
	})
}
