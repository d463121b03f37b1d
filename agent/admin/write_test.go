package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func TestCompareAndSet(t *testing.T) {
	r := newRig(t)
	set := func(value string, h map[string]string) reply {
		return r.admin(request{method: "PUT", path: "/v1/settings/log.level", body: `{"value": "` + value + `"}`, header: h})
	}
	first := set("debug", map[string]string{"If-None-Match": "*"})
	if first.status != 200 {
		t.Fatalf("absent: %d %s", first.status, first.body)
	}
	etag := first.header.Get("ETag")
	cases := []struct {
		name   string
		header map[string]string
		status int
		code   Code
	}{
		{"absent again", map[string]string{"If-None-Match": "*"}, 412, CodePrecondition},
		{"matches", map[string]string{"If-Match": etag}, 200, ""},
		{"outdated", map[string]string{"If-Match": etag}, 412, CodePrecondition},
		{"without quotes", map[string]string{"If-Match": strings.Trim(etag, `"`)}, 400, CodeInvalid},
		{"weak", map[string]string{"If-Match": "W/" + etag}, 400, CodeInvalid},
		{"any", map[string]string{"If-Match": "*"}, 400, CodeInvalid},
		{"both", map[string]string{"If-Match": etag, "If-None-Match": "*"}, 400, CodeInvalid},
		{"zero", map[string]string{"If-Match": `"0"`}, 400, CodeInvalid},
		{"the highest number stands for absent", map[string]string{"If-Match": `"18446744073709551615"`}, 400, CodeInvalid},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := r.tr.fsm.View().Text("log.level")
			got := set([]string{"warn", "error"}[i%2], c.header)
			if got.status != c.status {
				t.Fatalf("%d, want %d: %s", got.status, c.status, got.body)
			}
			if c.code == "" {
				return
			}
			if p := got.problem(t); p.Code != c.code || p.Next == "" && c.code == CodePrecondition {
				t.Errorf("%s", got.body)
			}
			if now := r.tr.fsm.View().Text("log.level"); now != before {
				t.Errorf("the setting is %s now", now)
			}
		})
	}
	absent := r.admin(request{method: "PUT", path: "/v1/settings/door.show_node", body: `{"value": "true"}`, header: map[string]string{"If-Match": `"5"`}})
	if absent.status != 412 {
		t.Errorf("If-Match of an unset setting: %d %s", absent.status, absent.body)
	}
	// A route that cannot check a condition must not ignore it.
	got := r.admin(request{method: "POST", path: "/v1/tokens", body: `{"name":"x","role":"viewer"}`, header: map[string]string{"If-None-Match": "*"}})
	if got.status != 400 || len(r.tr.fsm.View().Tokens()) != 5 {
		t.Errorf("condition on POST /v1/tokens: %d %s", got.status, got.body)
	}
}

func TestEtagsOfRowsAreTheirHeaders(t *testing.T) {
	r := newRig(t)
	c := r.client(n1, r.tok.admin)
	n, err := c.Node(context.Background(), "beta")
	if err != nil {
		t.Fatal(err)
	}
	weight := 50
	n, err = c.UpdateNode(context.Background(), "beta", NodeUpdate{Weight: &weight}, IfMatch(n.Etag))
	if err != nil || n.Weight != 50 {
		t.Fatalf("%+v, %v", n, err)
	}
	_, err = c.UpdateNode(context.Background(), "beta", NodeUpdate{Weight: &weight}, IfMatch("1"))
	var p *Problem
	if !errors.As(err, &p) || p.Code != CodePrecondition || p.Status != 412 {
		t.Errorf("%v", err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.client(n1, r.tok.operator)
	a, err := c.RunTask(ctx, "sales", Idempotent("monday"))
	if err != nil {
		t.Fatal(err)
	}
	applied := r.tr.fsm.View().Revision()
	b, err := r.client(n2, r.tok.operator).RunTask(ctx, "sales", Idempotent("monday")) // through another node
	if err != nil || b.ID != a.ID || r.tr.fsm.View().Revision() != applied {
		t.Errorf("repeat made %s, first %s; revision %d, was %d; %v", b.ID, a.ID, r.tr.fsm.View().Revision(), applied, err)
	}
	other, err := r.client(n1, r.tok.admin).RunTask(ctx, "sales", Idempotent("monday")) // another caller's key
	if err != nil || other.ID == a.ID {
		t.Errorf("another caller got %s, %v", other.ID, err)
	}
	for _, key := range []string{strings.Repeat("k", 129), "two words", "caf\u00e9"} {
		got := r.admin(request{method: "POST", path: "/v1/tasks/sales/run", header: map[string]string{headerIdempotency: key}})
		if got.status != 400 {
			t.Errorf("key %.10q: %d", key, got.status)
		}
	}
}

func TestRepeatedTokenShowsNoWrongSecret(t *testing.T) {
	r := newRig(t)
	c := r.client(n1, r.tok.admin)
	ctx := context.Background()
	first, err := c.CreateToken(ctx, TokenSpec{Name: "bot", Role: "viewer", TTL: Duration(time.Hour)}, Idempotent("bot"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Expires != r.tr.Now().Add(time.Hour) || first.State != TokenValid {
		t.Errorf("%+v", first)
	}
	if _, err := r.client(n1, first.Secret).Whoami(ctx); err != nil {
		t.Errorf("the new token does not work: %v", err)
	}
	_, err = c.CreateToken(ctx, TokenSpec{Name: "bot", Role: "viewer"}, Idempotent("bot"))
	var p *Problem
	if !errors.As(err, &p) || p.Code != CodeConflict {
		t.Errorf("a repeat got %v", err)
	}
	list, err := c.Tokens(ctx)
	if err != nil || strings.Contains(mustJSON(t, list), first.Secret) {
		t.Errorf("the list shows the secret, or %v", err)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	cases := []struct {
		name, method, path, body string
		status                   int
		code                     Code
		detail                   string
	}{
		{"value out of range", "PUT", "/v1/settings/log.level", `{"value": "loud"}`, 422, CodeInvalid, "debug, info, warn, error"},
		{"unknown setting", "PUT", "/v1/settings/log.levl", `{"value": "info"}`, 404, CodeNotFound, "did you mean log.level?"},
		{"beyond what the state checks", "PUT", "/v1/settings/door.document_patterns", `{"value": "/doc"}`, 422, CodeInvalid, "needs {document}"},
		{"import of a bad one changes nothing", "POST", "/v1/settings/import", `{"settings": {"log.level": "debug", "door.max_body_bytes": "much"}}`, 422, CodeInvalid, "door.max_body_bytes"},
		{"import of none", "POST", "/v1/settings/import", `{"settings": {}}`, 422, CodeInvalid, ""},
		{"cron", "PUT", "/v1/tasks/t", `{"document": "d", "cron": "bad"}`, 422, CodeInvalid, "5 are needed"},
		{"neither cron nor interval", "PUT", "/v1/tasks/t", `{"document": "d"}`, 422, CodeInvalid, "either"},
		{"name", "PUT", "/v1/tasks/No_Name", `{"document": "d", "every": "1h"}`, 422, CodeInvalid, "No_Name"},
		{"no such task", "POST", "/v1/tasks/nope/run", ``, 404, CodeNotFound, "nope"},
		{"role", "POST", "/v1/tokens", `{"name": "x", "role": "god"}`, 422, CodeInvalid, "viewer, operator or admin"},
		{"ttl", "POST", "/v1/tokens", `{"name": "x", "role": "viewer", "ttl": "-1s"}`, 422, CodeInvalid, "past"},
		{"replace nobody", "POST", "/v1/join-tokens", `{"replace": "nobody"}`, 404, CodeNotFound, "nobody"},
		{"node", "PATCH", "/v1/nodes/delta", `{"weight": 1}`, 404, CodeNotFound, "delta"},
		{"weight", "PATCH", "/v1/nodes/beta", `{"weight": 0}`, 422, CodeInvalid, "1 to 1000"},
		{"nothing to change", "PATCH", "/v1/nodes/beta", `{}`, 422, CodeInvalid, ""},
		{"deadline of standby", "POST", "/v1/nodes/beta/standby", `{"deadline": "1m"}`, 422, CodeInvalid, "drain"},
		{"remove without majority", "DELETE", "/v1/nodes/beta", ``, 409, Code(fsm.CodeState), "majority"},
		{"no voter", "POST", "/v1/central/move", `{"to": "gamma"}`, 409, Code(fsm.CodeState), "voter"},
		{"nobody can take the role", "POST", "/v1/central/move", ``, 409, CodeConflict, "no other live voter"},
		{"session", "DELETE", "/v1/sessions/none", ``, 404, CodeNotFound, "none"},
		{"occurrence ID", "GET", "/v1/occurrences/sales", ``, 400, CodeInvalid, "TASK@DUE"},
		{"occurrence", "GET", "/v1/occurrences/sales@2026-01-01T00:00:00Z", ``, 404, CodeNotFound, "sales"},
		{"document", "GET", "/v1/documents/none", ``, 404, CodeNotFound, "none"},
		{"engine", "GET", "/v1/engines/alpha/none", ``, 404, CodeNotFound, "none"},
		{"cluster name", "POST", "/v1/cluster/rename", `{"name": "A B"}`, 422, CodeInvalid, "cluster name"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := r.admin(request{method: c.method, path: c.path, body: c.body})
			if got.status != c.status {
				t.Fatalf("%d, want %d: %s", got.status, c.status, got.body)
			}
			p := got.problem(t)
			if p.Code != c.code || !strings.Contains(p.Detail+p.Next, c.detail) {
				t.Errorf("code %q, want %q: %s", p.Code, c.code, got.body)
			}
		})
	}
	if v := r.tr.fsm.View(); len(v.SettingRows()) != 0 {
		t.Errorf("settings were changed: %v", v.SettingRows())
	}
}

func TestUnknownOutcome(t *testing.T) {
	r := newRig(t)
	r.node[n1].b.onApply = func(fsm.Proposal) error { return consensus.ErrUnknown }
	got := r.admin(request{method: "POST", path: "/v1/tasks/sales/run"})
	if p := got.problem(t); got.status != 504 || p.Code != CodeUnknownOutcome || !strings.Contains(p.Next, "Idempotency-Key") {
		t.Errorf("%d %s", got.status, got.body)
	}
	r.node[n1].b.onApply = func(fsm.Proposal) error { return errors.New("the disk is on fire at /secret/path") }
	got = r.admin(request{method: "POST", path: "/v1/tasks/sales/run"})
	if p := got.problem(t); got.status != 500 || p.Code != CodeInternal || strings.Contains(string(got.body), "secret") {
		t.Errorf("%d %s", got.status, got.body)
	}
}

func TestActors(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	var seen []fsm.Actor
	r.node[n1].b.onApply = func(p fsm.Proposal) error {
		seen = append(seen, p.Actor)
		return nil
	}
	for _, c := range []*Client{r.client(n1, r.tok.admin), r.client(n2, r.tok.admin), r.local(n1), r.local(n2)} {
		if _, err := c.RenameCluster(ctx, "other"); err != nil {
			t.Fatal(err)
		}
	}
	id, _ := checkToken(r.tr.fsm.View(), r.tok.admin, r.tr.Now())
	want := []fsm.Actor{
		{Kind: fsm.ActorToken, ID: id.id, Via: n1}, {Kind: fsm.ActorToken, ID: id.id, Via: n2},
		{Kind: fsm.ActorLocal, ID: "root", Via: n1}, {Kind: fsm.ActorLocal, ID: "root", Via: n2},
	}
	for i, a := range want {
		if seen[i] != a {
			t.Errorf("actor %d: %+v, want %+v", i, seen[i], a)
		}
	}
}

func TestNodesAndCentral(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.client(n2, r.tok.admin)
	n, err := c.Drain(ctx, "beta", StateChange{Deadline: Duration(10 * time.Minute), Reason: "new disks"})
	if err != nil || n.State != peer.StateDraining || n.StateReason != "new disks" || n.StateUntil != r.tr.Now().Add(10*time.Minute) {
		t.Fatalf("%+v, %v", n, err)
	}
	if n, err = c.Activate(ctx, string(n2[:6]), StateChange{}); err == nil {
		t.Errorf("an ambiguous ID was taken for %s", n.Name)
	}
	if n, err = c.Activate(ctx, string(n2), StateChange{}); err != nil || n.State != peer.StateActive || !n.StateUntil.IsZero() {
		t.Errorf("%+v, %v", n, err)
	}
	central, err := c.MoveCentral(ctx, "beta")
	if err != nil || central.Node == nil || central.Node.ID != n2 {
		t.Errorf("%+v, %v", central, err)
	}
	if err := c.RemoveNode(ctx, "beta", true); err != nil {
		t.Errorf("forced: %v", err)
	}
	if got := r.node[n2].b.removed; len(got) != 1 || !got[0] {
		t.Errorf("force was not handed on: %v", got)
	}
	_, err = c.Node(ctx, string(n2))
	var p *Problem
	if !errors.As(err, &p) || p.Code != CodeRemoved {
		t.Errorf("a removed node: %v", err)
	}
}

// TestWriteWaitsForItsNode writes through a node whose state lags behind. Whoever gets the
// answer reads there what was written.
func TestWriteWaitsForItsNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		b := r.node[n2].b
		news := make(chan struct{})
		old := b.View().WithNewer(news)
		b.behind.Store(&old)
		write := func(value string) <-chan reply {
			done := make(chan reply, 1)
			go func() {
				done <- r.do(context.Background(), n2, originTCP, request{method: "PUT", path: "/v1/settings/log.level", body: `{"value": "` + value + `"}`, token: r.tok.admin})
			}()
			return done
		}
		done := write("debug")
		time.Sleep(catchUp - time.Second)
		if r.tr.fsm.View().Text("log.level") != "debug" || b.View().Text("log.level") == "debug" {
			t.Fatal("it is not written, or the node does not lag: this test sees nothing")
		}
		select {
		case got := <-done:
			t.Fatalf("answered before the node shows it: %d %s", got.status, got.body)
		default:
		}
		b.behind.Store(nil)
		close(news)
		if got := <-done; got.status != 200 || !strings.Contains(string(got.body), "debug") {
			t.Errorf("%d %s", got.status, got.body)
		}
		old = b.View().WithNewer(make(chan struct{}))
		b.behind.Store(&old)
		if got := <-write("warn"); got.status != 503 || got.problem(t).Code != CodeBehind {
			t.Errorf("of a node that stays behind: %d %s", got.status, got.body)
		}
		b.behind.Store(nil)
	})
}

// TestNodeRemovesItself is answered at once, though its state never shows that: the
// others do not speak with it any more.
func TestNodeRemovesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		b := r.node[n2].b
		old := b.View().WithNewer(make(chan struct{}))
		b.behind.Store(&old)
		got := r.do(context.Background(), n2, originTCP, request{method: "DELETE", path: "/v1/nodes/" + string(n2) + "?force=true", token: r.tok.admin})
		if got.status >= 300 {
			t.Errorf("%d %s", got.status, got.body)
		}
		if row := r.tr.fsm.View().Node(n2); row != nil {
			t.Errorf("it is still there: %+v", row)
		}
		b.behind.Store(nil)
	})
}
