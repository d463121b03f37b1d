package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/fsm"
)

func TestOpenAPIGolden(t *testing.T) {
	b, err := json.MarshalIndent(describe(routes()), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "openapi.json", append(b, '\n'))
}

// schemaCheck is as much of JSON Schema as our document uses.
type schemaCheck struct{ schemas map[string]any }

func (s schemaCheck) check(schema map[string]any, v any, path string) error {
	if ref, ok := schema["$ref"].(string); ok {
		named, ok := s.schemas[strings.TrimPrefix(ref, "#/components/schemas/")].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: %s leads nowhere", path, ref)
		}
		return s.check(named, v, path)
	}
	if any, ok := schema["anyOf"].([]any); ok {
		var last error
		for _, alt := range any {
			if last = s.check(alt.(map[string]interface{}), v, path); last == nil {
				return nil
			}
		}
		return last
	}
	want, _ := schema["type"].(string)
	if got := typeOf(v); got != want {
		return fmt.Errorf("%s is %s (%v), must be %s", path, got, v, want)
	}
	switch v := v.(type) {
	case string:
		if schema["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339Nano, v); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
	case []any:
		for i, e := range v {
			if err := s.check(schema["items"].(map[string]any), e, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		return s.object(schema, v, path)
	}
	return nil
}

func (s schemaCheck) object(schema, v map[string]any, path string) error {
	if each, ok := schema["additionalProperties"].(map[string]any); ok {
		for k, e := range v {
			if err := s.check(each, e, path+"."+k); err != nil {
				return err
			}
		}
		return nil
	}
	props := schema["properties"].(map[string]any)
	for k, e := range v {
		p, ok := props[k].(map[string]any)
		if !ok {
			return fmt.Errorf("%s.%s is not described", path, k)
		}
		if err := s.check(p, e, path+"."+k); err != nil {
			return err
		}
	}
	for _, k := range schema["required"].([]any) {
		if _, ok := v[k.(string)]; !ok {
			return fmt.Errorf("%s.%s is required and absent", path, k)
		}
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		if v == float64(int64(v)) {
			return "integer"
		}
		return "number"
	case []any:
		return "array"
	}
	return "object"
}

// TestAnswersAreAsDescribed asks every route for success and holds the answer
// against the document that the server itself gives.
func TestAnswersAreAsDescribed(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	r.node[n1].b.sessions = []Session{testSession("s1", n1, "sales"), testSession("s2", n1)}
	due := r.tr.now.Add(-time.Hour)
	r.tr.must(t, &fsm.PutTask{Task: fsm.Task{Name: "other", Document: "d", Cron: "0 * * * *", Attempts: 1, Timeout: time.Minute, CatchUp: time.Minute}})
	run := r.tr.must(t, &fsm.RequestRun{Task: "sales"})
	occ := r.tr.fsm.View().Occurrences("sales")[0]
	id := fsm.OccurrenceID{Task: "sales", Due: occ.Due}
	claim := r.tr.must(t, &fsm.ClaimOccurrence{OccurrenceID: id, Attempt: 1, Node: n1, Engine: "builtin"})
	r.tr.must(t, &fsm.StartOccurrence{OccurrenceID: id, Fence: claim.Revision, Node: n1})
	r.tr.must(t, &fsm.FinishOccurrence{OccurrenceID: id, Fence: claim.Revision, Node: n1, Error: "disk full", Took: time.Second})
	_, _ = due, run
	join := r.tr.fsm.View().JoinTokens()[0].ID
	token := r.tr.fsm.View().Tokens()[0].ID
	spec, err := r.client(n1, r.tok.viewer).OpenAPI(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Paths      map[string]map[string]map[string]any
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(spec, &doc); err != nil {
		t.Fatal(err)
	}
	s := schemaCheck{doc.Components.Schemas}
	checked := 0
	table := routes()
	slices.SortStableFunc(table, func(a, b route) int { return rank(a) - rank(b) }) // what removes comes last
	for _, rt := range table {
		if rt.out == nil {
			continue
		}
		q := r.sample(rt)
		q.path = strings.NewReplacer("/v1/sessions/nothing", "/v1/sessions/s1", "sales@2026-01-01T00:00:00Z", occurrenceID(id),
			"/v1/join-tokens/nothing", "/v1/join-tokens/"+join, "/v1/tokens/nothing", "/v1/tokens/"+token).Replace(q.path)
		got := r.do(ctx, n1, originSocket, q)
		if got.status != rt.status {
			t.Errorf("%s %s: %d, want %d: %s", rt.method, q.path, got.status, rt.status, got.body)
			continue
		}
		op := doc.Paths[rt.pattern][strings.ToLower(rt.method)]
		schema := dig(op, "responses", fmt.Sprint(rt.status), "content", "application/json", "schema")
		var v any
		if err := json.Unmarshal(got.body, &v); err != nil {
			t.Fatal(err)
		}
		if err := s.check(schema, v, "$"); err != nil {
			t.Errorf("%s %s: %v\n%s", rt.method, rt.pattern, err, got.body)
		}
		if q.body != "" {
			var in any
			_ = json.Unmarshal([]byte(q.body), &in)
			if err := s.check(dig(op, "requestBody", "content", "application/json", "schema"), in, "body"); err != nil {
				t.Errorf("%s %s: %v", rt.method, rt.pattern, err)
			}
		}
		checked++
	}
	if checked < 45 {
		t.Errorf("only %d routes were checked", checked)
	}
	problem := r.admin(request{method: http.MethodGet, path: "/v1/nodes/nobody"})
	var v any
	_ = json.Unmarshal(problem.body, &v)
	if err := s.check(map[string]any{"$ref": "#/components/schemas/Problem"}, v, "$"); err != nil {
		t.Error(err)
	}
}

func rank(r route) int {
	if r.method == http.MethodDelete {
		return 1
	}
	return 0
}

func dig(v map[string]any, keys ...string) map[string]any {
	for _, k := range keys {
		v, _ = v[k].(map[string]any)
	}
	return v
}
