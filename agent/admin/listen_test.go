package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// raw opens a connection to n1's TCP listener and writes text.
func (r *rig) raw(text string) net.Conn {
	r.t.Helper()
	c, err := r.hub.DialContext(context.Background(), "tcp", r.node[n1].host.IP()+":14748")
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Fatal(err)
	}
	return c
}

func TestSlowCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		began := time.Now()
		c := r.raw("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != headerTimeout {
			t.Errorf("an unfinished head was borne for %v", took)
		}
		c.Close()
		began = time.Now()
		c = r.raw("PUT /v1/tasks/x HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\nAuthorization: Bearer " + r.tok.admin + "\r\n\r\n{")
		b, _ := io.ReadAll(c)
		if took := time.Since(began); took > bodyTimeout+10*time.Second || !strings.Contains(string(b), " 400 ") {
			t.Errorf("an unfinished body after %v: %s", took, b)
		}
		c.Close()
	})
}

func TestHugeHead(t *testing.T) {
	r := newRig(t)
	c := r.raw("GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", maxHeader+8192) + "\r\n\r\n")
	defer c.Close()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		var open []net.Conn
		for range maxStrangers {
			open = append(open, r.raw(""))
		}
		synctest.Wait()
		late := r.raw("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		answered := make(chan error, 1)
		go func() {
			_, err := http.ReadResponse(bufio.NewReader(late), nil)
			answered <- err
		}()
		synctest.Wait()
		if len(answered) != 0 {
			t.Error("one connection too many is served")
		}
		open[0].Close()
		synctest.Wait()
		if len(answered) != 1 || <-answered != nil {
			t.Error("a connection that waits is not served when another ends")
		}
		late.Close()
		for _, c := range open {
			c.Close()
		}
	})
}

// TestThoseWhoWereLetInAreNoStrangers holds that connections on which somebody has shown
// a token do not take the places of new ones.
func TestThoseWhoWereLetInAreNoStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		ask := func(c net.Conn, token string, want int) {
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != want {
				t.Fatalf("token %.8q: %v, %v", token, resp, err)
			}
		}
		var open []net.Conn
		for range maxStrangers + 10 {
			c := r.raw("GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + r.tok.viewer + "\r\n\r\n")
			ask(c, r.tok.viewer, http.StatusOK)
			open = append(open, c)
		}
		for i := range maxStrangers {
			c := r.raw("GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + r.tok.unknown + "\r\n\r\n")
			want := http.StatusUnauthorized
			if i >= guessesPerMinute {
				want = http.StatusTooManyRequests
			}
			ask(c, r.tok.unknown, want)
			open = append(open, c)
		}
		late := r.raw("GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		answered := make(chan struct{})
		go func() {
			_, _ = http.ReadResponse(bufio.NewReader(late), nil)
			close(answered)
		}()
		synctest.Wait()
		select {
		case <-answered:
			t.Error("a stranger too many is served")
		default:
		}
		for _, c := range append(open, late) {
			c.Close()
		}
		<-answered
	})
}

// TestStopLetsRequestsEnd holds that a write under way is answered when the server
// stops, and that one that does not end is cut off within the bound.
func TestStopLetsRequestsEnd(t *testing.T) {
	for _, work := range []time.Duration{3 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			defer r.close()
			n := r.node[n1]
			n.b.onApply = func(fsm.Proposal) error {
				time.Sleep(min(work, 8*time.Second)) // a backend that does not look at its context
				return nil
			}
			c := r.client(n1, r.tok.admin)
			defer c.Close()
			done := make(chan error, 1)
			go func() {
				_, err := c.RunTask(context.Background(), "sales")
				done <- err
			}()
			synctest.Wait()
			began := time.Now()
			n.stop()
			n.served.Wait()
			took := time.Since(began)
			err := <-done
			if work < closeTimeout && (err != nil || took > work+time.Second) {
				t.Errorf("a request of %v was cut off: %v after %v", work, err, took)
			}
			if work > closeTimeout && err == nil {
				t.Errorf("a request of %v was waited for", work)
			}
			c.Close()
		})
	}
}

func TestPanicIsLogged(t *testing.T) {
	var log strings.Builder
	r := newRig(t, func(_ peer.ID, c *Config) {
		c.Log = zerolog.New(&log)
		c.ValidateSetting = func(string, string) error { panic("a defect") }
	})
	c := r.client(n1, r.tok.admin)
	if _, err := c.SetSetting(context.Background(), "log.level", "warn"); err == nil {
		t.Error("no error")
	}
	if !strings.Contains(log.String(), "a defect") || !strings.Contains(log.String(), `"level":"error"`) {
		t.Errorf("log: %s", log.String())
	}
	if _, err := c.Status(context.Background()); err != nil {
		t.Errorf("after that: %v", err)
	}
}

func TestSocketRefusesOthers(t *testing.T) {
	r := newRig(t, func(_ peer.ID, c *Config) {
		c.SocketUser = func(net.Conn) (string, error) { return "mallory", fmt.Errorf("uid 1001 is nobody") }
	})
	got := r.do(context.Background(), n1, originSocket, request{method: "GET", path: "/v1/status", token: r.tok.admin})
	if p := got.problem(t); got.status != 403 || p.Code != CodeDenied || p.Next == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	if got := r.do(context.Background(), n1, originSocket, request{method: "GET", path: "/v1/health"}); got.status != 200 {
		t.Errorf("health: %d", got.status)
	}
}

func TestWithoutState(t *testing.T) {
	r := newRig(t)
	empty := &backend{truth: &truth{fsm: fsm.New(fsm.Options{}), now: epoch()}, self: n1}
	empty.contact = -1
	r.node[n1].s.cfg.Backend = empty
	got := r.do(context.Background(), n1, originSocket, request{method: "GET", path: "/v1/status"})
	var st Status
	if err := json.Unmarshal(got.body, &st); err != nil || got.status != 200 || !st.Stale || st.Cluster.ID != "" || len(st.Warnings) == 0 {
		t.Errorf("%d %s", got.status, got.body)
	}
	for path, want := range map[string]int{"/v1/nodes": 200, "/v1/cluster": 503, "/v1/cluster?stale": 503, "/v1/health": 503, "/v1/whoami": 200, "/v1/settings": 503} {
		if got := r.do(context.Background(), n1, originSocket, request{method: "GET", path: path}); got.status != want {
			t.Errorf("%s: %d, want %d: %s", path, got.status, want, got.body)
		}
	}
	if got := r.do(context.Background(), n1, originSocket, request{method: "POST", path: "/v1/join-tokens"}); got.status != 503 {
		t.Errorf("join token: %d", got.status)
	}
}

func TestAnswersGolden(t *testing.T) {
	r := newRig(t)
	r.node[n1].b.sessions = []Session{testSession("s1", n1, "sales")}
	for _, path := range []string{"/v1/status", "/v1/nodes", "/v1/engines/alpha/builtin", "/v1/sessions", "/v1/documents/sales", "/v1/settings/log.level", "/v1/tasks/sales", "/v1/cluster", "/v1/central", "/v1/nodes/none"} {
		got := r.admin(request{method: "GET", path: path})
		var v any
		if err := json.Unmarshal(got.body, &v); err != nil {
			t.Fatal(err)
		}
		b, _ := json.MarshalIndent(v, "", "  ")
		golden(t, strings.ReplaceAll(strings.TrimPrefix(path, "/v1/"), "/", "_")+".json", append(b, '\n'))
	}
}
