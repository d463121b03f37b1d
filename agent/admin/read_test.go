package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/fsm"
)

func TestStaleFallback(t *testing.T) {
	for _, rt := range routes() {
		if rt.method != http.MethodGet || rt.out == nil || rt.open || rt.pattern == "/v1/whoami" {
			continue
		}
		t.Run(strings.TrimPrefix(rt.pattern, "/v1/"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				defer r.close()
				n := r.node[n1].b
				n.sessions = []Session{testSession("nothing", n1, "sales")}
				n.contact, n.readWait = 42*time.Second, true
				r.tr.setQuorum(false)
				q := r.sample(rt)
				began := time.Now()
				got := r.admin(q)
				took := time.Since(began)
				if !rt.fallback {
					if got.status < 500 && got.status != 404 {
						t.Errorf("answered %d without a quorum: %s", got.status, got.body)
					}
					return
				}
				if got.status != 200 || took > time.Second {
					t.Fatalf("%d after %v: %s", got.status, took, got.body)
				}
				var body struct {
					Stale bool
					Age   string
				}
				if err := json.Unmarshal(got.body, &body); err != nil {
					t.Fatal(err)
				}
				if got.header.Get(headerStale) != "true" || got.header.Get(headerAge) != "42" || !body.Stale || body.Age != "42s" {
					t.Errorf("not labelled as stale: %v %s", got.header, got.body)
				}
			})
		})
	}
}

func TestFreshIsNotLabelled(t *testing.T) {
	r := newRig(t)
	got := r.admin(request{method: "GET", path: "/v1/nodes"})
	if got.header.Get(headerStale) != "" || got.header.Get(headerAge) != "" || strings.Contains(string(got.body), `"stale"`) {
		t.Errorf("a fresh answer is labelled stale: %v", got.header)
	}
	if want := strconv.FormatUint(r.tr.fsm.View().Revision(), 10); got.header.Get(headerIndex) != want {
		t.Errorf("%s %q, want %s", headerIndex, got.header.Get(headerIndex), want)
	}
}

func TestNoQuorumIsSaid(t *testing.T) {
	r := newRig(t)
	r.tr.setQuorum(false)
	for _, q := range []request{
		{method: "GET", path: "/v1/settings"},
		{method: "PUT", path: "/v1/settings/log.level", body: `{"value": "warn"}`},
		{method: "POST", path: "/v1/tokens", body: `{"name": "x", "role": "viewer"}`},
	} {
		got := r.admin(q)
		p := got.problem(t)
		if got.status != 503 || p.Code != CodeNoQuorum || p.Detail != "no quorum: 1 of 3 servers reachable" || p.Next == "" || got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d %s", q.method, q.path, got.status, got.body)
		}
	}
	got := r.admin(request{method: "GET", path: "/v1/settings?stale"})
	if got.status != 200 || got.header.Get(headerStale) != "true" {
		t.Errorf("?stale: %d %s", got.status, got.body)
	}
	st, err := r.client(n1, r.tok.viewer).Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if st.Quorum || !st.Stale || len(st.Warnings) == 0 || !strings.HasPrefix(st.Warnings[0], "no quorum: 2 of 2") {
		t.Errorf("status %+v", st)
	}
	h := r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/health"})
	if h.status != 503 || !strings.Contains(string(h.body), HealthNoQuorum) {
		t.Errorf("health: %d %s", h.status, h.body)
	}
}

func TestReadThroughAFollower(t *testing.T) {
	r := newRig(t)
	got, err := r.client(n2, r.tok.viewer).Settings(context.Background(), Page(1000, ""))
	if err != nil {
		t.Fatal(err)
	}
	if got.Stale || len(got.Items) != len(fsm.Schema()) || got.Revision != r.tr.fsm.View().Revision() {
		t.Errorf("%d settings at revision %d, stale %v", len(got.Items), got.Revision, got.Stale)
	}
}

func TestBlockingQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		c := r.client(n1, r.tok.viewer)
		defer c.Close()
		var now uint64
		change := func(after time.Duration) {
			time.Sleep(after)
			r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: "warn"})
		}
		cases := []struct {
			name  string
			index uint64
			wait  time.Duration
			after time.Duration // of the change; 0: none
			took  time.Duration
		}{
			{"news", 0, 30 * time.Second, 7 * time.Second, 7 * time.Second},
			{"none in time", 1, 20 * time.Second, 0, 20 * time.Second},
			{"longer than the server's limits of a request", 1, 55 * time.Second, 50 * time.Second, 50 * time.Second},
			{"at most a minute", 1, 10 * time.Minute, 0, time.Minute},
		}
		for _, k := range cases {
			now = r.tr.fsm.View().Revision()
			began := time.Now()
			if k.after > 0 {
				go change(k.after)
			}
			got, err := c.Setting(context.Background(), "log.level", WaitIndex(now, k.wait))
			if err != nil {
				t.Errorf("%s: %v", k.name, err)
				continue
			}
			if took := time.Since(began); took != k.took {
				t.Errorf("%s: took %v, want %v", k.name, took, k.took)
			}
			if want := r.tr.fsm.View().Revision(); got.Revision != want {
				t.Errorf("%s: revision %d, want %d", k.name, got.Revision, want)
			}
		}
		began := time.Now()
		if _, err := c.Setting(context.Background(), "log.level", WaitIndex(0, time.Minute)); err != nil || time.Since(began) > 0 {
			t.Errorf("an old revision waits: %v, %v", time.Since(began), err)
		}
		c.Close()
	})
}

func TestBlockingQueryEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		c := r.client(n1, r.tok.viewer)
		defer c.Close()
		done := make(chan error, 1)
		go func() {
			_, err := c.Setting(context.Background(), "log.level", WaitIndex(r.tr.fsm.View().Revision(), time.Minute))
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		r.node[n1].stop()
		err := <-done
		var p *Problem
		if !errors.As(err, &p) || p.Code != CodeClosing || time.Since(began) > time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

func TestParameters(t *testing.T) {
	r := newRig(t)
	cases := []struct {
		path, detail, next string
	}{
		{"/v1/nodes?limit=0", "limit=0", "1 to 1000"},
		{"/v1/nodes?limit=1001", "limit=1001", "1 to 1000"},
		{"/v1/nodes?limt=5", "no parameter limt", "did you mean limit?"},
		{"/v1/nodes?cursor=%21", "cursor=!", "next of the page before"},
		{"/v1/nodes?stale=maybe", "stale=maybe", "true or false"},
		{"/v1/nodes?index=abc", "index=abc", "revision"},
		{"/v1/nodes?wait=5s", "wait=5s", "index"},
		{"/v1/nodes?index=1&wait=soon", "wait=soon", "duration"},
		{"/v1/nodes?limit=1&limit=2", "more than once", ""},
		{"/v1/nodes?a;b", "malformed", ""},
		{"/v1/status?limit=1", "no parameter limit", ""},
		{"/v1/occurrences?state=running", "state=running", "claimed"},
		{"/v1/audit?cursor=Zm9v", "cursor=Zm9v", "next of the page before"},
	}
	for _, c := range cases {
		got := r.admin(request{method: "GET", path: c.path})
		if got.status != 400 {
			t.Errorf("%s: %d %s", c.path, got.status, got.body)
			continue
		}
		if p := got.problem(t); p.Code != CodeInvalid || !strings.Contains(p.Detail, c.detail) || !strings.Contains(p.Next, c.next) {
			t.Errorf("%s: %s", c.path, got.body)
		}
	}
}

func TestPagesAreWholeAndStable(t *testing.T) {
	r := newRig(t)
	c := r.client(n1, r.tok.admin)
	ctx := context.Background()
	var want []string
	for _, s := range fsm.Schema() {
		want = append(want, s.Key)
	}
	for _, limit := range []int{1, 7, 1000} {
		var got []string
		cursor := ""
		for {
			page, err := c.Settings(ctx, Page(limit, cursor))
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Items) > limit {
				t.Fatalf("%d items on a page of %d", len(page.Items), limit)
			}
			for _, s := range page.Items {
				got = append(got, s.Key)
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("pages of %d:\n%s", limit, diff)
		}
	}
	for i := range 25 {
		r.tr.must(t, &fsm.PutTask{Task: fsm.Task{Name: "t" + strconv.Itoa(i), Document: "d", Every: time.Hour, Attempts: 1, Timeout: time.Minute, CatchUp: time.Minute}})
	}
	all, err := All(ctx, c.Tasks)
	if err != nil || len(all.Items) != 26 {
		t.Errorf("%d tasks, %v", len(all.Items), err)
	}
}

func TestAuditPagesNewestFirst(t *testing.T) {
	r := newRig(t)
	c := r.client(n1, r.tok.admin)
	ctx := context.Background()
	for _, v := range []string{"warn", "debug", "error", "info"} {
		if _, err := c.SetSetting(ctx, "log.level", v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.ImportSettings(ctx, Settings{Settings: map[string]string{"door.show_node": "true", "log.level": "warn"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetSetting(ctx, "door.show_node", "false"); err != nil {
		t.Fatal(err)
	}
	var details []string
	cursor := ""
	for {
		page, err := c.SettingHistory(ctx, "log.level", Page(2, cursor))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range page.Items {
			details = append(details, a.Detail)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if diff := cmp.Diff([]string{"2: door.show_node,log.level", "info", "error", "debug", "warn"}, details); diff != "" {
		t.Error(diff)
	}
	all, err := c.SettingHistory(ctx, "")
	if err != nil || len(all.Items) != 6 {
		t.Errorf("%d changes of settings, %v", len(all.Items), err)
	}
	one, err := c.Audit(ctx, AuditFilter{Action: "setting.import"})
	if err != nil || len(one.Items) != 1 || one.Items[0].Via.Name != "alpha" || !strings.HasPrefix(one.Items[0].Actor, "token:") {
		t.Errorf("%+v, %v", one.Items, err)
	}
}
