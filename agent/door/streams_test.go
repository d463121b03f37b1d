package door

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func TestLeak(t *testing.T) {
	var l leak
	at := time.Unix(1, 0)
	for i, c := range []struct {
		after time.Duration
		over  bool
	}{
		{0, false}, {0, false}, {0, false}, {0, true}, // 3 fit
		{time.Second, false}, {0, true}, // 2 of the 4 have gone
		{time.Hour, false}, {0, false}, {0, false}, {0, true},
		{-time.Hour, true}, // a clock that goes back empties nothing
	} {
		at = at.Add(c.after)
		if over := l.pour(at, 3.5, 2); over != c.over {
			t.Errorf("step %d: %v", i, over)
		}
	}
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
	engine := newWaiting()
	now := time.Now()
	p, client := secureBeside(t, engine.ServeHTTP, func(c *Config) { c.Now = func() time.Time { return now } }) // nothing is forgotten
	connections := map[net.Conn]int{}
	takeBack := func() error {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { connections[i.Conn]++ }})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.users[1].Addr().String()+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			select {
			case <-engine.come:
				cancel()
			case <-ctx.Done():
			}
		}()
		resp, err := client.Do(r)
		if err == nil {
			resp.Body.Close()
			t.Fatal("a request that was taken back is answered")
		}
		return err
	}
	for range resetsAtOnce {
		if err := takeBack(); !errors.Is(err, context.Canceled) {
			t.Fatalf("a request that is taken back: %v", err)
		}
	}
	if len(connections) != 1 {
		t.Errorf("a browser had %d connections", len(connections))
	}
	for range resetsAtOnce { // the door counts a moment later
		if len(connections) > 1 {
			return
		}
		_ = takeBack() // the connection may end before it
	}
	t.Errorf("the connection is still there: %v", connections)
}
