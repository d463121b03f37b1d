package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/fsm"
)

func TestAddresses(t *testing.T) {
	cases := []struct{ address, base, network, dial string }{
		{"unix:/run/usher/usher.sock", "http://localhost", "unix", "/run/usher/usher.sock"},
		{"unix:///run/usher/usher.sock", "http://localhost", "unix", "/run/usher/usher.sock"},
		{"http://127.0.0.1:14748", "http://127.0.0.1:14748", "tcp", "127.0.0.1:14748"},
		{"http://127.0.0.1:14748/", "http://127.0.0.1:14748", "tcp", "127.0.0.1:14748"},
		{"https://usher.example", "https://usher.example", "tcp", "usher.example:443"},
		{"http://[::1]:80", "http://[::1]:80", "tcp", "[::1]:80"},
	}
	for _, c := range cases {
		base, network, dial, err := parseAddress(c.address)
		if err != nil || base != c.base || network != c.network || dial != c.dial {
			t.Errorf("%s: %q %q %q, %v", c.address, base, network, dial, err)
		}
	}
	for _, bad := range []string{"", "unix:", "127.0.0.1:14748", "ftp://x", "http://", "http://u:p@x", "http://x/path", "http://x?q", "http://x#f", "http://x:port"} {
		if _, err := NewClient(ClientConfig{Address: bad}); err == nil {
			t.Errorf("%q is taken for an address", bad)
		}
	}
}

func TestUnreachable(t *testing.T) {
	ctx := context.Background()
	r := newRig(t)
	dead, err := NewClient(ClientConfig{Address: "http://" + r.node[n1].host.IP() + ":9", Dial: r.hub.DialContext})
	if err != nil {
		t.Fatal(err)
	}
	_, err = dead.Status(ctx)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), dead.Address()) {
		t.Errorf("nobody listens: %v", err)
	}
	// What answers is no usher: not its redirects, and not its pages.
	for name, h := range map[string]http.HandlerFunc{
		"page":          func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") },
		"error page":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", 500) },
		"redirect":      func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://evil.example/", 302) },
		"another's API": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404); io.WriteString(w, `{"error":"x"}`) },
	} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			h(w, r)
		}))
		c, err := NewClient(ClientConfig{Address: srv.URL, Token: "secret", Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if !strings.HasPrefix(addr, "127.0.0.1:") {
				t.Errorf("%s: dialled %s", name, addr)
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status(ctx); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
		srv.Close()
		if asked != 1 {
			t.Errorf("%s: asked %d times, with the token", name, asked)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := dead.Status(cancelled); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("given up: %v", err)
	}
}

func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		r.net.Cut(r.hub, r.node[n1].host)
		began := time.Now()
		_, err := r.client(n1, r.tok.admin).Status(context.Background())
		if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != CallTimeout {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		c := r.client(n1, r.tok.viewer)
		defer c.Close()
		stop := errors.New("enough")
		var values []string
		go func() {
			for _, v := range []string{"warn", "error"} {
				time.Sleep(3 * time.Minute) // longer than one question waits
				r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: v})
			}
		}()
		began := time.Now()
		err := Watch(context.Background(), func(ctx context.Context, opts ...Option) (Setting, error) {
			return c.Setting(ctx, "log.level", opts...)
		}, func(s Setting) error {
			if values = append(values, s.Value); len(values) == 3 {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || strings.Join(values, " ") != "info warn error" || time.Since(began) != 6*time.Minute {
			t.Errorf("%v after %v, %v", values, time.Since(began), err)
		}
		c.Close()
	})
}

func TestTypedProblems(t *testing.T) {
	r := newRig(t)
	_, err := r.client(n1, r.tok.viewer).SetSetting(context.Background(), "log.level", "warn")
	var p *Problem
	if !errors.As(err, &p) || p.Code != CodeDenied || p.Status != 403 || p.Next == "" || err.Error() != p.Detail {
		t.Errorf("%v", err)
	}
	r.tr.setQuorum(false)
	_, err = r.client(n1, r.tok.admin).SetSetting(context.Background(), "log.level", "warn")
	if !errors.As(err, &p) || p.Code != CodeNoQuorum || p.RetryAfter != 1 || p.Revision == 0 {
		t.Errorf("%+v", p)
	}
	h, err := r.client(n1, "").Health(context.Background())
	if err != nil || h.Status != HealthNoQuorum {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestDocumentKeysSurviveURLs(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	for _, key := range []string{"a/b", "a b", "..", ".", "50%", "?x=1", "Umsätze", "a%2Fb", "#1"} {
		r.tr.must(t, &fsm.PutTask{Task: fsm.Task{Name: "k", Document: key, Every: time.Hour, Attempts: 1, Timeout: time.Minute, CatchUp: time.Minute}})
		d, err := r.client(n1, r.tok.viewer).Document(ctx, key)
		if err != nil || d.Key != key || len(d.Tasks) != 1 {
			t.Errorf("%q: %+v, %v", key, d, err)
		}
	}
}
