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
		s.change(func(c *Settings) { c.AccessLog = true })
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
