package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBadBodies(t *testing.T) {
	r := newRig(t)
	cases := []struct {
		name, body, contentType string
		status                  int
		says                    string
	}{
		{"empty", "", "", 400, "JSON object is needed"},
		{"white space", "  \n", "", 400, "JSON object is needed"},
		{"not JSON", "document: sales", "", 400, "not JSON"},
		{"cut off", `{"document": "sales"`, "", 400, "not JSON"},
		{"garbage behind", `{"document": "sales", "every": "1h"} x`, "", 400, "more after"},
		{"two values", `{"document": "sales", "every": "1h"}{}`, "", 400, "more after"},
		{"array", `[]`, "", 400, "must be a JSON object"},
		{"null", `null`, "", 400, "must be a JSON object"},
		{"text", `"x"`, "", 400, "must be a JSON object"},
		{"unknown field", `{"document": "sales", "evry": "1h"}`, "", 400, "did you mean every?"},
		{"far from any field", `{"document": "sales", "colour": "red"}`, "", 400, "there are: attempts, catch_up"},
		{"other case", `{"Document": "sales", "every": "1h"}`, "", 400, "did you mean document?"},
		{"twice", `{"document": "a", "document": "b", "every": "1h"}`, "", 400, "twice"},
		{"wrong type", `{"document": 5, "every": "1h"}`, "", 400, "document is a number and must be a string"},
		{"duration as a number", `{"document": "sales", "every": 3600}`, "", 400, "every"},
		{"no duration", `{"document": "sales", "every": "hourly"}`, "", 400, `"hourly" is not a duration`},
		{"fraction", `{"document": "sales", "every": "1h", "attempts": 1.5}`, "", 400, "attempts"},
		{"of the list, not the request", `{"name": "x", "document": "sales", "every": "1h"}`, "", 400, "no field name"},
		{"deep", strings.Repeat(`{"document":`, 40) + "1" + strings.Repeat("}", 40), "", 400, "nested too deeply"},
		{"too large", `{"document": "` + strings.Repeat("x", maxBody) + `"}`, "", 413, "over 1048576 bytes"},
		{"form", `{"document": "sales", "every": "1h"}`, "application/x-www-form-urlencoded", 415, "application/json"},
		{"plain text, as a page of another site can send", `{"document": "sales", "every": "1h"}`, "text/plain", 415, "application/json"},
		{"with a charset", `{"document": "sales", "every": "1h"}`, "application/json; charset=utf-8", 200, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			q := request{method: "PUT", path: "/v1/tasks/t", body: c.body}
			if c.contentType != "" {
				q.header = map[string]string{"Content-Type": c.contentType}
			}
			got := r.admin(q)
			if got.status != c.status {
				t.Fatalf("%d, want %d: %s", got.status, c.status, got.body)
			}
			if got.status == 200 {
				return
			}
			if p := got.problem(t); !strings.Contains(p.Detail+" "+p.Next, c.says) {
				t.Errorf("%s does not say %q", got.body, c.says)
			}
		})
	}
	if got := r.admin(request{method: "POST", path: "/v1/tasks/sales/run", body: `{}`}); got.status != 400 {
		t.Errorf("a body that is not taken: %d", got.status)
	}
	if got := r.admin(request{method: "POST", path: "/v1/nodes/beta/drain"}); got.status != 200 {
		t.Errorf("an optional body left out: %d %s", got.status, got.body)
	}
	if r.tr.fsm.View().Task("t") == nil {
		t.Error("the good one was not stored")
	}
}

func TestAgentsMaySayMore(t *testing.T) {
	var in dialBackRequest
	if err := decodeJSON([]byte(`{"addr": "a:1", "nonce": "AQ==", "newer_field": {"a": [1]}}`), &in, false); err != nil || in.Addr != "a:1" || len(in.Nonce) != 1 {
		t.Errorf("%+v, %v", in, err)
	}
	if err := decodeJSON([]byte(`{"Addr": "b:1"}`), &in, false); err == nil {
		t.Error("a field in another spelling is taken for ours")
	}
}

// FuzzDecode holds that what is accepted is exactly one object whose fields survive
// a round trip: nothing that was sent is dropped silently.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"document":"sales","every":"1h"}`, `{"weight":1,"tags":["a"]}`, `{"settings":{"a":"b"},"reset":true}`,
		`{"document":null}`, `{}`, `[]`, `{"a":{"a":{}}}`, `{"tags":[[]]}`, "{\"\xff\":1}",
	} {
		f.Add([]byte(s), true)
	}
	types := []reflect.Type{}
	seen := map[reflect.Type]bool{}
	for _, rt := range append(routes(), internalRoutes()...) {
		if rt.in != nil && !seen[rt.in] && !reflect.PointerTo(rt.in).Implements(reflect.TypeFor[wired]()) {
			seen[rt.in] = true
			types = append(types, rt.in)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, closed bool) {
		if len(b) > maxBody || len(strings.TrimSpace(string(b))) == 0 {
			return
		}
		for _, typ := range types {
			v := reflect.New(typ)
			if err := decodeJSON(b, v.Interface(), closed); err != nil {
				if p, ok := err.(*Problem); !ok || p.Status != 400 || p.Detail == "" {
					t.Fatalf("%T %v", err, err)
				}
				continue
			}
			if !json.Valid(b) {
				t.Fatalf("accepted %q", b)
			}
			again := reflect.New(typ)
			out, err := json.Marshal(v.Interface())
			if err != nil {
				continue // a year that RFC 3339 cannot show
			}
			if err := decodeJSON(out, again.Interface(), closed); err != nil {
				t.Fatalf("%s: own encoding %s of %q is refused: %v", typ, out, b, err)
			}
		}
	})
}

func TestSuggest(t *testing.T) {
	known := []string{"every", "cron", "zone"}
	got := []string{suggest("evry", known), suggest("ZONE", known), suggest("qqqqqq", known), suggest("x", nil), suggest(strings.Repeat("a", 100), known)}
	want := []string{"did you mean every?", "did you mean zone?", "there are: every, cron, zone", "leave it out", "there are: every, cron, zone"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
