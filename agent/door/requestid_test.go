package door

import (
	"net/http"
	"strings"
	"testing"
)

func TestRequestIDs(t *testing.T) {
	bubble(t, 2, func(s *site) {
		b, owner := s.bound()
		defer b.leaveConnections()
		seen := map[string]bool{}
		for range 4 { // the whole way, and then the short one
			id := b.ok(s.nodes[0], "/", fieldRequestID, "mine").seen.Header.Get(fieldRequestID)
			if !validRequestID(id) || id == "mine" || seen[id] {
				t.Errorf("the engine got the ID %q", id)
			}
			seen[id] = true
		}
		s.change(func(c *Settings) { c.TrustedNetworks = prefixes("10.9.0.0/16") })
		if id := b.ok(s.nodes[0], "/", fieldRequestID, "a-proxy's").seen.Header.Get(fieldRequestID); id == "a-proxy's" {
			t.Errorf("one that is no ID was kept: %q", id)
		}
		if id := b.ok(s.nodes[0], "/", fieldRequestID, "of-a-proxy/1").seen.Header.Get(fieldRequestID); id != "of-a-proxy/1" {
			t.Errorf("a trusted proxy's ID became %q", id)
		}
		// Who is not served learns the same ID as the log, be it from the owner's door.
		s.change(func(c *Settings) { c.AccessLog = AccessAll })
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
		a := b.get(s.nodes[0], "/", "Accept", "text/html", fieldRequestID, "of-a-proxy/2")
		if a.header.Get(fieldRequestID) != "of-a-proxy/2" || !strings.Contains(a.body, "of-a-proxy/2") || !strings.Contains(s.access.String(), "of-a-proxy/2") {
			t.Errorf("%d %v\n%s\n%s", a.status, a.header, a.body, &s.access)
		}
	})
}

func TestPages(t *testing.T) {
	bubble(t, 1, func(s *site) {
		for accept, want := range map[string][2]string{
			"text/html,application/json;q=0.9": {"text/html; charset=utf-8", "<h1>"},
			"application/json":                 {"application/problem+json", `"request_id":"`},
			"*/*":                              {"text/plain; charset=utf-8", "There is nothing here.\n"},
			"":                                 {"text/plain; charset=utf-8", "There is nothing here.\n"},
		} {
			a := s.browser().get(s.nodes[0], "/.well-known/usher/load", "Accept", accept)
			id := a.header.Get(fieldRequestID)
			if a.status != 404 || a.header.Get("Content-Type") != want[0] || !strings.Contains(a.body, want[1]) || !strings.Contains(a.body, id) || id == "" {
				t.Errorf("%q: %d %v\n%s", accept, a.status, a.header, a.body)
			}
			if strings.Contains(a.body, s.nodes[0].ip) || strings.Contains(a.body, s.nodes[0].name+" ") {
				t.Errorf("%q: the page tells too much:\n%s", accept, a.body)
			}
		}
	})
}

func TestValidRequestID(t *testing.T) {
	for id, want := range map[string]bool{
		"": false, "a": true, strings.Repeat("a", maxRequestID): true, strings.Repeat("a", maxRequestID+1): false,
		"a b": false, "<b>": false, "a\"": false, "a\x7f": false, "é": false, "A-1/2:3=+.": true, "a&b": false, `a\b`: false,
	} {
		if validRequestID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}
