package door

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAccessLog(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		if s.access.Len() != 0 {
			t.Errorf("logged without being asked to: %s", s.access.String())
		}
		s.change(func(c *Settings) { c.AccessLog = AccessAll })
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(1500 * time.Millisecond)
			w.WriteHeader(http.StatusTeapot)
			fmt.Fprint(w, "short")
		})
		b.get(s.nodes[0], "/doc/sales/x?password=secret")
		b.get(s.nodes[0], "/.well-known/usher/load")
		lines := strings.Split(strings.TrimSpace(s.access.String()), "\n")
		if len(lines) != 2 || strings.Contains(s.access.String(), "secret") {
			t.Fatalf("log: %s", s.access.String())
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{
			"level": "info", "message": "request", "method": "GET", "path": "/doc/sales/x", "status": 418.0, "bytes": 5.0,
			"duration_ms": 1500.0, "client": "10.9.0.1", "engine": string(owner.engine.id), "document": "sales",
			"session": owner.door.Sessions(nil)[0].ID.Short(), "request": owner.engine.last.Header.Get(fieldRequestID),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
		if !strings.Contains(lines[1], `"code":"not_found"`) {
			t.Errorf("refusal: %s", lines[1])
		}
	})
}

func TestMetrics(t *testing.T) {
	bubble(t, 2, func(s *site) {
		for range 8 {
			b := s.browser()
			b.ok(s.nodes[0], "/")
			b.leaveConnections()
		}
		b := s.browser()
		b.cookies[cookieName] = "rubbish"
		b.get(s.nodes[0], "/.well-known/usher/load")
		b.ok(s.nodes[0], "/")
		b.leaveConnections()
		families, err := s.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, f := range families {
			if f.GetHelp() == "" {
				t.Errorf("%s has no help", f.GetName())
			}
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetName() + "=" + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
		for name, want := range map[string]float64{
			"usher_door_requests_total class=2xx":        9,
			"usher_door_requests_total class=4xx":        1,
			"usher_door_placements_total result=asked":   9,
			"usher_door_refused_total reason=not_found":  1,
			"usher_door_refused_total reason=bad_cookie": 1,
			"usher_door_ask_seconds":                     9,
			"usher_door_request_seconds":                 10,
			"usher_door_in_flight":                       0,
			"usher_door_moves_total":                     0,
			"usher_door_sessions engine=app":             float64(len(s.nodes[0].door.Sessions(nil))),
			"usher_door_engine_in_flight engine=app":     0,
		} {
			if v, there := got[name]; !there || v != want {
				t.Errorf("%s is %v (there: %v), want %v", name, v, there, want)
			}
		}
	})
}

// Which requests have a line does not depend on the way they go.
func TestAccessLogKinds(t *testing.T) {
	for kind, want := range map[Access]map[bool]int{ // by whether the short way is used
		AccessOff: {false: 0, true: 0}, AccessErrors: {false: 3, true: 3}, AccessSampled: {false: 3 + 3, true: 3 + 3}, AccessAll: {false: 12, true: 12},
	} {
		for short, lines := range want {
			bubble(t, 2, func(s *site) {
				s.whole.Store(!short)
				b, owner := s.bound()
				defer b.leaveConnections()
				owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
					switch r.URL.Path {
					case "/bad":
						w.WriteHeader(http.StatusTeapot)
					case "/cut":
						w.Header().Set("Content-Length", "10")
						fmt.Fprint(w, "short")
					}
				})
				s.change(func(c *Settings) { c.AccessLog, c.AccessSample = kind, 4 })
				for _, path := range []string{"/", "/bad", "/", "/", "/", "/", "/cut", "/", "/", "/bad", "/", "/"} {
					_, _ = b.do(s.nodes[0], http.MethodGet, path, "") // one is cut short
				}
				time.Sleep(time.Second)
				log := s.access.String()
				if n := strings.Count(log, "\n"); n != lines || strings.Count(log, `"status":418`) != min(lines, 2) {
					t.Errorf("%s, the short way %v: %d lines, want %d\n%s", kind, short, n, lines, log)
				}
				if n := s.expressed(); (n > 5) != (short && kind != AccessAll) {
					t.Errorf("%s: %v went the short way", kind, n)
				}
			})
		}
	}
}
