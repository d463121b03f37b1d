package admin

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ushercluster/usher/fsm"
)

// sample is a request of a route that is well-formed enough to be let in. Whether
// the handler then finds what it names does not matter here.
func (r *rig) sample(rt route) request {
	path := strings.NewReplacer("{key}/history", "log.level/history", "/v1/settings/{key}", "/v1/settings/log.level", "{node}/{engine}", "alpha/builtin",
		"{name}", "sales", "{key}", "sales", "/v1/nodes/{id}", "/v1/nodes/gamma", "/v1/occurrences/{id}", "/v1/occurrences/sales@2026-01-01T00:00:00Z", "{id}", "nothing").Replace(rt.pattern)
	body := map[string]string{
		"POST /v1/cluster/rename":    `{"name": "other"}`,
		"POST /v1/central/move":      `{"to": "alpha"}`,
		"PATCH /v1/nodes/{id}":       `{"weight": 50}`,
		"PUT /v1/settings/{key}":     `{"value": "debug"}`,
		"POST /v1/settings/import":   `{"settings": {"log.level": "warn"}}`,
		"PUT /v1/tasks/{name}":       `{"document": "sales", "every": "2h"}`,
		"POST /v1/tokens":            `{"name": "bot", "role": "viewer"}`,
		"POST /v1/internal/apply":    `{"items": [{}]}`,
		"POST /v1/internal/stand":    `{"term": 3, "index": 9}`,
		"POST /v1/internal/join":     `{"request": {"name": "delta"}}`,
		"POST /v1/internal/move":     `{"to": ""}`,
		"POST /v1/internal/dialback": `{"addr": "192.0.2.1:14747"}`,
	}[rt.method+" "+rt.pattern]
	return request{method: rt.method, path: path, body: body}
}

func TestEveryRouteWithEveryIdentity(t *testing.T) {
	identities := []struct {
		name  string
		via   origin
		token func(tokens) string
		host  string
		role  fsm.Role // what it amounts to; "" is nobody
	}{
		{name: "no token", via: originTCP, token: func(tokens) string { return "" }},
		{name: "garbage", via: originTCP, token: func(tokens) string { return "usht_garbage" }},
		{name: "unknown token", via: originTCP, token: func(k tokens) string { return k.unknown }},
		{name: "expired token", via: originTCP, token: func(k tokens) string { return k.expired }},
		{name: "revoked token", via: originTCP, token: func(k tokens) string { return k.revoked }},
		{name: "viewer", via: originTCP, token: func(k tokens) string { return k.viewer }, role: fsm.RoleViewer},
		{name: "operator", via: originTCP, token: func(k tokens) string { return k.operator }, role: fsm.RoleOperator},
		{name: "admin", via: originTCP, token: func(k tokens) string { return k.admin }, role: fsm.RoleAdmin},
		{name: "socket", via: originSocket, token: func(tokens) string { return "" }, role: fsm.RoleAdmin},
		{name: "server", via: originPeer, token: func(k tokens) string { return k.admin }},
		{name: "edge", via: originPeer, host: "edge", token: func(k tokens) string { return k.admin }},
		{name: "stranger", via: originPeer, host: "stranger", token: func(k tokens) string { return k.admin }},
	}
	for _, id := range identities {
		t.Run(id.name, func(t *testing.T) {
			r := newRig(t)
			for _, rt := range append(routes(), internalRoutes()...) {
				if rt.streams {
					continue // never ends; see TestEventsNeedARole
				}
				r.tr.setLeader(n1) // a route may have moved it
				q := r.sample(rt)
				q.token, q.host = id.token(r.tok), id.host
				got := r.do(context.Background(), n1, id.via, q)
				internal := strings.HasPrefix(rt.pattern, "/v1/internal/")
				if want := expectedAccess(rt, id.name, id.via, id.role, internal); !strings.Contains(want, class(got.status)) {
					t.Errorf("%s %s: %d %s, want %s", rt.method, rt.pattern, got.status, got.body, want)
				}
			}
		})
	}
}

// class names what an answer means for access.
func class(status int) string {
	switch status {
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		return "unauthenticated"
	case http.StatusForbidden:
		return "denied"
	case http.StatusNotFound:
		return "absent"
	}
	return "in"
}

// expectedAccess says it independently of the code under test. "absent" may be the
// handler's own word.
func expectedAccess(rt route, name string, via origin, role fsm.Role, internal bool) string {
	switch {
	case via == originPeer && !internal, via != originPeer && internal:
		return "absent"
	case name == "stranger":
		return "denied"
	case name == "edge":
		if rt.pattern == "/v1/internal/apply" {
			return "in"
		}
		return "denied"
	case via == originPeer, rt.pattern == "/v1/health":
		return "in or absent"
	case role == "":
		return "unauthenticated"
	}
	needs := fsm.RoleViewer
	switch {
	case rt.pattern == "/v1/snapshot", strings.HasPrefix(rt.pattern, "/v1/tokens"), strings.HasPrefix(rt.pattern, "/v1/join-tokens"):
		needs = fsm.RoleAdmin
	case rt.pattern == "/v1/audit":
		needs = fsm.RoleOperator
	case rt.method == http.MethodGet:
	case strings.HasPrefix(rt.pattern, "/v1/settings"), rt.pattern == "/v1/cluster/rename", rt.pattern == "/v1/nodes/{id}":
		needs = fsm.RoleAdmin
	default:
		needs = fsm.RoleOperator
	}
	if !role.Includes(needs) {
		return "denied"
	}
	return "in or absent"
}

func TestRoutesAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, rt := range append(routes(), internalRoutes()...) {
		key := rt.method + " " + rt.pattern
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		internal := strings.HasPrefix(rt.pattern, "/v1/internal/")
		if !internal && rt.role == "" && !rt.open {
			t.Errorf("%s has no role", key)
		}
		if internal && (rt.role != "" || rt.open) {
			t.Errorf("%s is internal and has a role", key)
		}
		if rt.open && rt.pattern != "/v1/health" {
			t.Errorf("%s is open", key)
		}
		if rt.kind != 0 && (rt.kind.Proposer() != fsm.ByOperator || rt.role != rt.kind.Role()) {
			t.Errorf("%s: role %q, its command needs %q", key, rt.role, rt.kind.Role())
		}
		if rt.summary == "" || rt.status == 0 {
			t.Errorf("%s has no summary or status", key)
		}
	}
}

func TestUnlistedIsNotFound(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/nope", "/v1/nodes/alpha/explode", "/metrics/x", "/debug/pprof/", "/v1/internal/apply"} {
		got := r.admin(request{method: http.MethodGet, path: path})
		if got.status != http.StatusNotFound || got.problem(t).Code != CodeNotFound {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	got := r.admin(request{method: http.MethodDelete, path: "/v1/status"})
	if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET" {
		t.Errorf("DELETE /v1/status: %d, Allow %q", got.status, got.header.Get("Allow"))
	}
	if p := got.problem(t); p.Code != CodeMethod {
		t.Errorf("code %q", p.Code)
	}
}

func TestRoleMessages(t *testing.T) {
	r := newRig(t)
	got := r.do(context.Background(), n1, originTCP, request{method: http.MethodPost, path: "/v1/tasks/sales/run", token: r.tok.viewer})
	p := got.problem(t)
	if got.status != http.StatusForbidden || p.Code != CodeDenied || !strings.Contains(p.Detail, "operator") || p.Next == "" {
		t.Errorf("%d %s", got.status, got.body)
	}
	for _, tok := range []string{"", r.tok.unknown, r.tok.revoked} {
		got := r.do(context.Background(), n1, originTCP, request{method: http.MethodGet, path: "/v1/status", token: tok})
		if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" || got.problem(t).Code != CodeUnauthenticated {
			t.Errorf("token %.8q: %d %v", tok, got.status, got.header)
		}
	}
	// Whoever guesses learns nothing: an unknown ID and a wrong secret look alike.
	wrong := forge(t, r.tok.admin)
	a := r.do(context.Background(), n1, originTCP, request{method: http.MethodGet, path: "/v1/status", token: wrong})
	b := r.do(context.Background(), n1, originTCP, request{method: http.MethodGet, path: "/v1/status", token: r.tok.unknown})
	if string(a.body) != string(b.body) {
		t.Errorf("wrong secret: %s\nunknown ID:   %s", a.body, b.body)
	}
}

func ExampleDuration() {
	fmt.Println(Duration(90*60*1e9), Duration(30*1e9))
	// Output: 1h30m 30s
}
