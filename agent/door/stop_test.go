package door

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
)

func TestStatus(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b := s.browser()
		defer b.leaveConnections()
		read := func(path string) (int, statusPage) {
			a := b.get(s.nodes[0], path, "Accept", "application/json")
			var p statusPage
			if err := json.Unmarshal([]byte(a.body), &p); err != nil {
				t.Fatalf("%q: %v", a.body, err)
			}
			return a.status, p
		}
		for _, path := range []string{statusPath, statusAlias, strings.ToLower(statusAlias)} {
			if code, p := read(path); code != http.StatusOK || p != (statusPage{Status: "ok", Node: "n0", Engines: 2, Healthy: 2, Open: 2}) {
				t.Errorf("%s: %d %+v", path, code, p)
			}
		}
		a := b.get(s.nodes[0], statusPath, "Accept", "text/html")
		if !strings.Contains(a.body, "2 of 2 engines are well") || strings.Contains(a.body, string(s.nodes[0].id)) || strings.Contains(a.body, "10.0.0") {
			t.Errorf("page: %q", a.body)
		}
		s.nodes[0].engine.setHealth(peer.Dead)
		if code, p := read(statusPath); code != http.StatusOK || p.Healthy != 1 {
			t.Errorf("own engine dead: %d %+v", code, p)
		}
		s.gossip(s.nodes[1], peer.StatusFailed)
		if code, p := read(statusPath); code != http.StatusServiceUnavailable || p.Status != "no_engine" {
			t.Errorf("no engine: %d %+v", code, p)
		}
		s.nodes[0].engine.setHealth(peer.Healthy)
		s.nodes[0].door.SetServing(false)
		if code, p := read(statusPath); code != http.StatusServiceUnavailable || p.Status != "stopping" {
			t.Errorf("stopping: %d %+v", code, p)
		}
		b.ok(s.nodes[0], "/") // users are served still
		if a, _ := b.do(s.nodes[0], "POST", statusPath, ""); a.status != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", a.status)
		}
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.ShutdownDelay = 10 * time.Second })
		b, owner := s.bound()
		owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/slow" {
				time.Sleep(30 * time.Second)
			}
			_, _ = io.WriteString(w, "done")
		})
		slow := make(chan answer, 2)
		for _, at := range []*node{s.nodes[0], owner} {
			go func() {
				a, err := b.do(at, "GET", "/slow", "")
				if err != nil {
					t.Error(err)
				}
				slow <- a
			}()
		}
		synctest.Wait()
		began := time.Now()
		stopped := make(chan error, 1)
		go func() { stopped <- owner.door.Shutdown(context.Background()) }()
		synctest.Wait()
		if a := b.get(owner, statusPath); a.status != http.StatusServiceUnavailable {
			t.Errorf("status page at once: %d", a.status)
		}
		time.Sleep(9 * time.Second)
		if a := b.ok(owner, "/"); !a.last { // until the balancers have seen it
			t.Error("a door that stops keeps its connections")
		}
		time.Sleep(2 * time.Second)
		if _, err := b.do(owner, "GET", "/", ""); !upstream.Refused(err) {
			t.Errorf("after the delay: %v", err)
		}
		for range 2 {
			if a := <-slow; a.body != "done" {
				t.Errorf("a request under way ended with %d %q", a.status, a.body)
			}
		}
		if err := <-stopped; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 33*time.Second {
			t.Errorf("the shutdown took %s", took)
		}
		b.leaveConnections()
	})
}

func TestShutdownIsBounded(t *testing.T) {
	bubble(t, 1, func(s *site) {
		hung := make(chan struct{})
		s.nodes[0].engine.on(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body) // or net/http would not watch the connection
			<-r.Context().Done()
			close(hung)
		})
		b := s.browser()
		failed := make(chan error, 1)
		go func() { _, err := b.do(s.nodes[0], "POST", "/", "x"); failed <- err }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		began := time.Now()
		if err := s.nodes[0].door.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("it took %s", took)
		}
		if err := <-failed; err == nil {
			t.Error("the hung request was answered")
		}
		<-hung
	})
}

func TestOpenChecks(t *testing.T) {
	if _, err := Open(Config{}); err == nil {
		t.Error("an empty configuration was taken")
	}
}
