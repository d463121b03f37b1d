package door

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestLeak(t *testing.T) {
	var l leak
	at := time.Unix(1, 0)
	for i, c := range []struct {
		after time.Duration
		n     float64
		want  float64
	}{
		{0, 1, 1}, {0, 1, 2}, {0, 2, 4}, {0, 0, 4},
		{time.Second, 1, 3}, {500 * time.Millisecond, 0, 2},
		{time.Hour, 1, 1},
		{-time.Hour, 1, 2}, // a clock that goes back empties nothing
	} {
		at = at.Add(c.after)
		if got := l.pour(at, c.n, 2); got != c.want {
			t.Errorf("step %d: %v, want %v", i, got, c.want)
		}
	}
}

// Who takes back much waits, and for what is taken back meanwhile nothing is done.
func TestPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Door{cfg: Config{Now: time.Now}}
		c := &clientConn{}
		for range resetsFree {
			c.streams.resets.pour(d.cfg.Now(), 1, resetsPerSecond)
		}
		began := time.Now()
		if !d.patient(t.Context(), c) || time.Since(began) != 0 {
			t.Errorf("a browser waited %v", time.Since(began))
		}
		for range 100 {
			c.streams.resets.pour(d.cfg.Now(), 1, resetsPerSecond)
		}
		if !d.patient(t.Context(), c) || time.Since(began) != 100*waitPerReset {
			t.Errorf("after 100 too many it waited %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if d.patient(ctx, c) {
			t.Error("one that was taken back is served")
		}
	})
}

func TestStreamLimits(t *testing.T) {
	for _, c := range []struct {
		descriptors int
		want        limits
	}{
		{0, limits{4096, 1024}}, {262144, limits{4096, 1024}}, {1256, limits{250, 62}}, {100, limits{1, 1}},
	} {
		d := &Door{cfg: Config{Descriptors: c.descriptors}}
		if l := d.streamLimits(); l != c.want {
			t.Errorf("%d descriptors: %v, want %v", c.descriptors, l, c.want)
		}
	}
}

// secureBeside is two doors that speak TLS; the engine answers by h, beside the second one.
func secureBeside(t *testing.T, h http.HandlerFunc, change func(*Config)) (*pair, *http.Client) {
	cert, pool := certificate(t)
	engine := httptest.NewServer(h)
	t.Cleanup(engine.Close)
	p := newPairBeside(t, httpEngine{engine}, func(c *Config) {
		c.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		change(c)
	})
	client := secureClient(p, 1, pool, true)
	t.Cleanup(client.CloseIdleConnections)
	return p, client
}

// waiting is an engine that tells of each request and answers when it is let, or the client
// has gone.
type waiting struct {
	come chan struct{}
	let  chan struct{}
}

func newWaiting() *waiting {
	return &waiting{come: make(chan struct{}, 1000), let: make(chan struct{})}
}

func (e *waiting) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.come <- struct{}{}
	select {
	case <-e.let:
		_, _ = io.WriteString(w, "ok")
	case <-r.Context().Done():
	}
}

// The first request of a connection always has a place; of the others there are so many, and
// when one has gone the next is taken.
func TestTooManyStreams(t *testing.T) {
	engine := newWaiting()
	p, client := secureBeside(t, engine.ServeHTTP, func(c *Config) { c.Descriptors = otherDescriptors + 4*8 }) // 8 others, 2 of an address
	ask := func() (int, string) {
		resp, err := client.Get("https://" + p.users[1].Addr().String() + "/")
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, resp.Header.Get("Retry-After") + resp.Header.Get(fieldError)
	}
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if status, why := ask(); status != http.StatusOK {
				t.Errorf("one that has a place: %d %s", status, why)
			}
		})
		<-engine.come
	}
	if status, why := ask(); status != http.StatusTooManyRequests || why != "5too_many_requests_of_address" {
		t.Errorf("one more of an address: %d %s", status, why)
	}
	d := p.doors[1]
	other := netip.Addr{}
	for range 6 {
		if err := d.streams.enter(other, d.streamLimits()); err != nil {
			t.Fatal(err)
		}
	}
	if status, why := ask(); status != http.StatusServiceUnavailable || why != "5too_many_requests" {
		t.Errorf("one more of all: %d %s", status, why)
	}
	for range 6 {
		d.streams.leave(other)
	}
	close(engine.let)
	wait.Wait()
	if status, why := ask(); status != http.StatusOK {
		t.Errorf("when all have gone: %d %s", status, why)
	}
	d.Close() // waits for requests to be counted out
	if n := d.streams.count(); n != 0 {
		t.Errorf("%d are counted in the end", n)
	}
}

// A connection by which requests are taken back again and again is ended; a browser whose
// user goes to another page keeps its own.
func TestTooManyResets(t *testing.T) {
	p, client := secureBeside(t, newWaiting().ServeHTTP, func(*Config) {})
	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", p.users[1].Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, _ = io.WriteString(conn, http2.ClientPreface)
	frames := http2.NewFramer(conn, conn)
	_ = frames.WriteSettings()
	var head bytes.Buffer
	fields := hpack.NewEncoder(&head)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "app.example"}, {":path", "/"}} {
		_ = fields.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true}) // the same bytes each time
	}
	stream := uint32(1)
	takeBack := func(n int) error {
		for range n {
			_ = frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true})
			_ = frames.WriteRSTStream(stream, http2.ErrCodeCancel)
			stream += 2
		}
		_ = frames.WritePing(false, [8]byte{1}) // what fails has failed for the reader, too
		for {
			f, err := frames.ReadFrame()
			if err != nil {
				return err
			}
			if f, is := f.(*http2.PingFrame); is && f.IsAck() { // all before it has been seen
				untilIdle(t, p.doors[1])
				return nil
			}
		}
	}
	const atOnce = 50 // more than 100 would not even be begun with
	for range resetsAtOnce / atOnce {
		if err := takeBack(atOnce); err != nil {
			t.Fatalf("a browser's connection: %v", err)
		}
	}
	if err := takeBack(0); err != nil {
		t.Fatalf("a browser's connection: %v", err)
	}
	for range resetsAtOnce / atOnce {
		if err = takeBack(atOnce); err != nil {
			break
		}
	}
	if err == nil || isTimeoutError(err) {
		t.Errorf("the connection is still there: %v", err)
	}
}

// untilIdle returns when no request over HTTP/2 is under way.
func untilIdle(t *testing.T, d *Door) {
	t.Helper()
	working := func() (n int32) {
		s := d.servers.secure
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.conns {
			n += c.streams.work.Load()
		}
		return n
	}
	for began := time.Now(); working() > 0; runtime.Gosched() {
		if time.Since(began) > 20*time.Second {
			t.Fatal("requests that were taken back go on")
		}
	}
}
