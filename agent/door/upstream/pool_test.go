package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// numbered answers with the number of the connection.
func numbered(l *link) {
	for r := l.request(); r != nil; r = l.request() {
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + strconv.Itoa(l.n))
	}
}

// hold opens n answers and ends them in order.
func (l *lab) hold(n int) {
	l.Helper()
	var open []*Response
	for range n {
		resp, err := l.pool.RoundTrip(l.Context(), get())
		if err != nil {
			l.Fatal(err)
		}
		open = append(open, resp)
	}
	for _, resp := range open {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
}

func TestNewestFirstAndTheRestGrowsOld(t *testing.T) {
	inLab(t, Config{IdleTimeout: 10 * time.Second}, numbered, func(l *lab) {
		l.hold(3)
		for range 4 {
			time.Sleep(4 * time.Second)
			l.mustDo(get(), 200, "2")
		}
		if got := l.pool.Idle(); got != 1 {
			t.Errorf("%d idle, want 1", got)
		}
		time.Sleep(11 * time.Second)
		if got := l.pool.Idle(); got != 0 {
			t.Errorf("%d idle after the timeout, want 0", got)
		}
		l.mustDo(get(), 200, "3")
	})
}

func TestMaxIdle(t *testing.T) {
	inLab(t, Config{MaxIdle: 2}, numbered, func(l *lab) {
		l.hold(5)
		if got := l.pool.Idle(); got != 2 {
			t.Errorf("%d idle, want 2", got)
		}
	})
}

func TestIdleConnectionEnds(t *testing.T) {
	for _, tc := range []struct{ name, unasked string }{
		{"closed", ""},
		{"says something unasked", "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reg := prometheus.NewRegistry()
			m, err := NewMetrics(reg)
			if err != nil {
				t.Fatal(err)
			}
			inLab(t, Config{Metrics: m}, func(l *link) {
				l.request()
				l.say(ok2)
				if l.n == 0 {
					time.Sleep(5 * time.Second)
					l.say(tc.unasked)
					return
				}
				l.drain()
			}, func(l *lab) {
				l.mustDo(get(), 200, "ok")
				time.Sleep(6 * time.Second)
				if l.pool.Idle() != 0 {
					t.Error("the dead connection is still there")
				}
				l.mustDo(&Request{Method: "POST", Target: "/"}, 200, "ok")
			})
			for name, want := range map[string]float64{"connections_stale_total": 1, "retries_total": 0, "idle_connections": 0} {
				if got := value(t, reg, "usher_upstream_"+name); got != want {
					t.Errorf("%s is %v, want %v", name, got, want)
				}
			}
		})
	}
}

func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestMetricsLint(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := NewMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	m.countDial(nil)
	m.countExchange(t.Context(), nil)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if _, err := NewMetrics(reg); err == nil {
		t.Error("registered twice without an error")
	}
}

func TestCloseLetsExchangesEnd(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		if l.request() == nil {
			return
		}
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
		time.Sleep(time.Second)
		l.say("ok")
		l.drain()
	}, func(l *lab) {
		resp, err := l.pool.RoundTrip(l.Context(), get())
		if err != nil {
			l.Fatal(err)
		}
		l.pool.Close()
		if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		if l.pool.Idle() != 0 {
			t.Error("kept after Close")
		}
		_, _, err = l.do(get())
		wantIs(l.T, err, ErrPoolClosed)
		isErr[*NotSentError](l.T, err)
	})
}

func TestCloseTakesNoPinBack(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		l.drain()
	}, func(l *lab) {
		r := get()
		r.Header = http.Header{"Authorization": {"NTLM abc"}}
		resp, err := l.pool.RoundTrip(l.Context(), r)
		if err != nil {
			l.Fatal(err)
		}
		l.pool.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		if len(l.pool.live) != 0 {
			t.Error("the pinned connection is open")
		}
		resp.Pinned.Close()
	})
}

func TestCloseAllCutsExchanges(t *testing.T) {
	inLab(t, Config{}, func(l *link) { l.drain() }, func(l *lab) {
		time.AfterFunc(time.Second, func() { l.pool.CloseAll() })
		began := time.Now()
		if _, _, err := l.do(get()); err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		for r := l.request(); r != nil; r = l.request() {
			b, _ := io.ReadAll(r.Body)
			l.say("HTTP/1.1 200 OK\r\nContent-Length: " + strconv.Itoa(len(b)) + "\r\n\r\n" + string(b))
		}
	}, func(l *lab) {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 20 {
					text := strings.Repeat(strconv.Itoa(i), 1000)
					_, got, err := l.do(&Request{Method: "PUT", Target: "/", Body: strings.NewReader(text), ContentLength: int64(len(text))})
					if err != nil || got != text {
						t.Errorf("%d: %v, or another's answer", i, err)
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestPins(t *testing.T) {
	negotiate := http.Header{"Authorization": {"negotiate abc"}}
	inLab(t, Config{}, numbered, func(l *lab) {
		l.mustDo(get(), 200, "0")
		r := get()
		r.Header = negotiate
		pinned := l.mustDo(r, 200, "0").Pinned
		if pinned == nil || l.pool.Idle() != 0 {
			l.Fatal("a connection that carried Negotiate went back to the pool")
		}
		l.mustDo(get(), 200, "1") // somebody else
		for range 2 {
			r = get()
			r.Pin = pinned
			if resp := l.mustDo(r, 200, "0"); resp.Pinned != pinned {
				t.Error("another pin")
			}
		}
		pinned.Close()
		pinned.Close()
		_, _, err := l.do(r)
		wantIs(l.T, err, net.ErrClosed)
		l.mustDo(get(), 200, "1")
	})
}

func TestPinByOffer(t *testing.T) {
	for _, tc := range []struct {
		name, answer string
		pinned       bool
	}{
		{"ntlm", "401 U\r\nWWW-Authenticate: Basic realm=\"a, b\", NTLM\r\n", true},
		{"negotiate on its own line", "401 U\r\nWWW-Authenticate: Basic realm=x\r\nwww-authenticate: Negotiate\r\n", true},
		{"proxy", "407 P\r\nProxy-Authenticate: NTLM abc=\r\n", true},
		{"basic", "401 U\r\nWWW-Authenticate: Basic realm=NTLMish\r\n", false},
		{"not on success", "200 OK\r\nWWW-Authenticate: Negotiate abc\r\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, answering("HTTP/1.1 "+tc.answer+"Content-Length: 0\r\n\r\n"), func(l *lab) {
				resp, _, err := l.do(get())
				if err != nil {
					l.Fatal(err)
				}
				defer resp.Pinned.Close()
				if got := resp.Pinned != nil; got != tc.pinned || got == (l.pool.Idle() == 1) {
					t.Errorf("pinned %v, want %v; %d idle", got, tc.pinned, l.pool.Idle())
				}
			})
		})
	}
}

func TestPinOutlivesItsConnection(t *testing.T) {
	for _, tc := range []struct{ name, says string }{
		{"closed while idle", ""},
		{"closed after the answer", "Connection: close\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) {
				l.request()
				if l.n == 0 {
					l.say("HTTP/1.1 200 OK\r\n" + tc.says + "Content-Length: 1\r\n\r\n0")
					return
				}
				l.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
				l.drain()
			}, func(l *lab) {
				r := get()
				r.Header = http.Header{"Authorization": {"NTLM abc"}}
				pin := l.mustDo(r, 200, "0").Pinned
				r = get()
				r.Pin = pin
				synctest.Wait()
				if resp := l.mustDo(r, 200, "1"); resp.Pinned != pin || l.pool.Idle() != 0 {
					t.Error("the new connection is not the pin's")
				}
				pin.Close()
			})
		})
	}
}

func TestPinIsForOneAtATime(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		l.request()
		l.say("HTTP/1.1 200 OK\r\n\r\n")
		l.drain()
	}, func(l *lab) {
		r := get()
		r.Header = http.Header{"Authorization": {"NTLM abc"}}
		resp, err := l.pool.RoundTrip(l.Context(), r)
		if err != nil {
			l.Fatal(err)
		}
		r.Pin = resp.Pinned
		_, _, err = l.do(r)
		wantIs(l.T, err, ErrPinBusy)
		resp.Pinned.Close() // cuts the answer
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("the answer went on after its pin was closed")
		}
	})
}

func TestForeignPinIsIgnored(t *testing.T) {
	inLab(t, Config{}, numbered, func(l *lab) {
		other := NewPool(Config{Dial: func(context.Context) (net.Conn, error) { panic("not asked") }})
		r := get()
		r.Pin = newPin(&conn{pool: other})
		if resp := l.mustDo(r, 200, "0"); resp.Pinned != nil {
			t.Error("took another pool's pin")
		}
	})
}
