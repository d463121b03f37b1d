package engine

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
)

func TestFirstProbeIsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.serve(status(200))
		defer f.stop()
		e := f.engine(nil)
		wantHealth(t, e, peer.Unhealthy)
		defer run(t, e)()
		wantHealth(t, e, peer.Healthy)
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v", d)
		}
		select {
		case <-e.Changed():
		default:
			t.Error("Changed said nothing")
		}
	})
}

func TestWhatAGoodAnswerIs(t *testing.T) {
	big := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range 300 {
			_, _ = io.WriteString(w, strings.Repeat("x", 1000))
		}
	})
	crumbs := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for range maxBody / 4 { // one-byte chunks: more framing than body
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	})
	hints := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(200)
	})
	path := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "/healthz?deep=1" || r.Host != "bi.example" {
			w.WriteHeader(500)
		}
	})
	tests := map[string]struct {
		handler http.Handler
		change  func(*Config)
		want    peer.Health
	}{
		"200":            {status(200), nil, peer.Healthy},
		"login redirect": {status(302), nil, peer.Healthy},
		"unauthorized":   {status(401), nil, peer.Healthy},
		"not found":      {status(404), nil, peer.Healthy},
		"large page":     {big, nil, peer.Healthy},
		"tiny chunks":    {crumbs, nil, peer.Healthy},
		"early hints":    {hints, nil, peer.Healthy},
		"500":            {status(500), nil, peer.Unhealthy},
		"503":            {status(503), nil, peer.Unhealthy},
		"exact status":   {status(204), func(c *Config) { c.Health.Status = 204 }, peer.Healthy},
		"not that":       {status(200), func(c *Config) { c.Health.Status = 204 }, peer.Unhealthy},
		"path and host": {path, func(c *Config) {
			c.Health.Path, c.HostHeader = "/healthz?deep=1", "bi.example"
		}, peer.Healthy},
		"tcp does not ask": {status(500), func(c *Config) { c.Health.Kind = ProbeTCP }, peer.Healthy},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.serve(tc.handler)
				defer f.stop()
				e := f.engine(tc.change)
				defer run(t, e)()
				wantHealth(t, e, tc.want)
			})
		})
	}
}

func TestBadAnswers(t *testing.T) {
	tests := map[string]struct {
		sends string
		open  bool // the connection stays open after that
		why   string
	}{
		"garbage":       {"SSH-2.0-OpenSSH_9.2\r\n\r\n", true, "malformed HTTP"},
		"nothing":       {"", false, "EOF"},
		"silence":       {"", true, "no answer in time (2s)"},
		"endless head":  {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 2*maxHead), true, "longer than 65536 bytes"},
		"endless hints": {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 20), true, "interim answers"},
		"cut body":      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false, "unexpected EOF"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				defer f.raw(func(c net.Conn) {
					if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
						t.Errorf("the probe's request: %v", err)
					}
					_, _ = io.WriteString(c, tc.sends)
					if tc.open {
						_, _ = io.Copy(io.Discard, c)
					}
					_ = c.Close()
				})()
				e := f.engine(nil)
				defer run(t, e)()
				time.Sleep(2*time.Second + time.Millisecond)
				wantHealth(t, e, peer.Unhealthy)
				if s := e.Status(); !strings.Contains(s.Err, tc.why) {
					t.Errorf("error %q does not say %q", s.Err, tc.why)
				}
			})
		})
	}
}

func TestBusyIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		f := newFake(t)
		f.serve(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				<-r.Context().Done()
			}
		}))
		defer f.stop()
		e := f.engine(nil)
		defer run(t, e)()
		wantHealth(t, e, peer.Healthy)
		hang.Store(true)
		time.Sleep(5 * time.Second) // one probe has timed out
		wantHealth(t, e, peer.Healthy)
		time.Sleep(10 * time.Second)
		wantHealth(t, e, peer.Unhealthy)
		if s := e.Status(); !strings.Contains(s.Err, "no answer in time (2s)") {
			t.Errorf("error %q", s.Err)
		}
		time.Sleep(10 * time.Minute)
		wantHealth(t, e, peer.Unhealthy)
		hang.Store(false)
		time.Sleep(10 * time.Second)
		wantHealth(t, e, peer.Healthy)
	})
}

func TestUnreachableIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		far := f.net.Host("far", "10.0.0.2")
		f.serve(status(200))
		defer f.stop()
		cfg, err := ParseFlag("fake=http://10.0.0.1:3838")
		if err != nil {
			t.Fatal(err)
		}
		ln, err := f.host.Listen(context.Background(), "tcp", "10.0.0.1:3838")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: status(200)}
		go func() { _ = srv.Serve(ln) }()
		defer func() { _ = srv.Close() }()
		e, err := New(cfg, Options{Dial: far.DialContext})
		if err != nil {
			t.Fatal(err)
		}
		defer run(t, e)()
		wantHealth(t, e, peer.Healthy)
		f.net.Cut(f.host, far)
		time.Sleep(time.Minute)
		wantHealth(t, e, peer.Unhealthy)
	})
}

func TestRefusedIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.serve(status(200))
		e := f.engine(nil)
		defer run(t, e)()
		wantHealth(t, e, peer.Healthy)
		f.stop()
		time.Sleep(2300 * time.Millisecond) // the next probe is enough
		wantHealth(t, e, peer.Dead)
		s := e.Status()
		if want := s.Since.Add(5 * time.Second); !s.LostAt.Equal(want) {
			t.Errorf("lost at %v, want %v", s.LostAt, want)
		}
		f.serve(status(200))
		defer f.stop()
		time.Sleep(2300 * time.Millisecond)
		wantHealth(t, e, peer.Unhealthy)
		if s := e.Status(); !s.LostAt.IsZero() {
			t.Errorf("no longer dead, but lost at %v", s.LostAt)
		}
		time.Sleep(2300 * time.Millisecond)
		wantHealth(t, e, peer.Healthy)
	})
}

func TestDialIsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		e := f.engine(nil) // not running: only dials speak
		ctx := context.Background()
		if _, err := e.Dial(ctx); !refused(err) {
			t.Fatalf("got %v, want a refusal", err)
		}
		wantHealth(t, e, peer.Dead)
		if d := time.Since(start); d != refusalPause {
			t.Errorf("death took %v", d)
		}
		if _, err := e.Dial(ctx); !refused(err) {
			t.Fatalf("got %v, want a refusal", err)
		}
		if d := time.Since(start); d != refusalPause {
			t.Errorf("a dead engine was asked twice: %v", d)
		}
		f.serve(status(200))
		defer f.stop()
		c, err := e.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		wantHealth(t, e, peer.Unhealthy)
	})
}

// A door's connection to an engine that rose again saves it a whole interval.
func TestDialHasTheRisenProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		e := f.engine(nil)
		tm := DefaultTiming()
		tm.Interval, tm.PassThreshold = time.Hour, 1
		if err := e.SetTiming(tm); err != nil {
			t.Fatal(err)
		}
		defer run(t, e)()
		time.Sleep(time.Second)
		wantHealth(t, e, peer.Dead)
		f.serve(status(200))
		defer f.stop()
		c, err := e.Dial(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		wantHealth(t, e, peer.Healthy)
	})
}

func TestDialGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		never := func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		cfg, _ := ParseFlag("fake=http://" + fakeAddr)
		e, err := New(cfg, Options{Dial: never})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Dial(context.Background()); err == nil {
			t.Fatal("no error")
		}
		if d := time.Since(start); d != dialTimeout {
			t.Errorf("it took %v, want %v", d, dialTimeout)
		}
	})
}

func TestStopInTheMiddleOfAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		stopFake := f.raw(func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		})
		defer stopFake()
		e := f.engine(nil)
		stop := run(t, e)
		synctest.Wait()
		before := e.Status()
		stop()
		if d := time.Since(start); d != 0 {
			t.Errorf("it took %v to stop", d)
		}
		if after := e.Status(); after != before {
			t.Errorf("stopping was taken for evidence: %+v", after)
		}
	})
}

func TestSetTimingWorksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int64
		f := newFake(t)
		f.serve(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { probes.Add(1) }))
		defer f.stop()
		e := f.engine(func(c *Config) { c.API.Off = true })
		tm := DefaultTiming()
		tm.Interval = time.Hour
		if err := e.SetTiming(tm); err != nil {
			t.Fatal(err)
		}
		defer run(t, e)()
		time.Sleep(time.Minute)
		before := probes.Load()
		tm.Interval = time.Second
		if err := e.SetTiming(tm); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if n := probes.Load() - before; n < 9 || n > 12 {
			t.Errorf("%d probes in 10 s", n)
		}
		if e.SetTiming(Timing{}) == nil {
			t.Error("a zero timing was taken")
		}
	})
}

func TestTLSEngine(t *testing.T) {
	for name, tc := range map[string]struct {
		certHost string
		trusted  bool
		want     peer.Health
	}{
		"trusted":      {"engine.test", true, peer.Healthy},
		"other name":   {"other.test", true, peer.Unhealthy},
		"unknown root": {"engine.test", false, peer.Unhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			cert, pool := selfSigned(t, tc.certHost)
			if !tc.trusted {
				pool = x509.NewCertPool()
			}
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				ln := tls.NewListener(f.listen(), &tls.Config{Certificates: []tls.Certificate{cert}})
				srv := &http.Server{Handler: status(200)}
				go func() { _ = srv.Serve(ln) }()
				defer func() { _ = srv.Close() }()
				cfg, err := ParseFlag("fake=https://engine.test:3838")
				if err != nil {
					t.Fatal(err)
				}
				e, err := New(cfg, Options{Roots: pool, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
					return f.host.DialContext(ctx, network, fakeAddr)
				}})
				if err != nil {
					t.Fatal(err)
				}
				defer run(t, e)()
				wantHealth(t, e, tc.want)
			})
		})
	}
}

func selfSigned(t *testing.T, host string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host},
		NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestMetricsOfTwoEngines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.serve(status(200))
		defer f.stop()
		reg := prometheus.NewRegistry()
		for _, name := range []string{"a", "b"} {
			cfg, _ := ParseFlag(name + "=http://" + fakeAddr)
			e, err := New(cfg, Options{Dial: f.host.DialContext, Registerer: reg})
			if err != nil {
				t.Fatal(err)
			}
			stop := run(t, e)
			wantHealth(t, e, peer.Healthy)
			stop()
		}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, mf := range families {
			if mf.GetName() == "usher_engine_health" && len(mf.Metric) != 6 {
				t.Errorf("%d health series, want 3 for each of 2 engines", len(mf.Metric))
			}
		}
		if len(families) < 4 {
			t.Errorf("%d families", len(families))
		}
	})
}
