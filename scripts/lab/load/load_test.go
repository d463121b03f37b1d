package load

import (
	"context"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
)

var quick = Pace{
	Setting: 5 * time.Millisecond, Session: 50 * time.Millisecond, Message: 50 * time.Millisecond, Run: 40 * time.Millisecond,
	Every: time.Second, Count: 20 * time.Millisecond, Patience: 5 * time.Second,
}

// result is a run over a fake cluster.
type result struct {
	load   *Load
	report history.Report
	ops    []history.Op
}

// run drives load until each kind has had its number of acknowledgements, with a fault in
// between, and checks.
func run(t *testing.T, c *cluster, cfg Config, fault func(*Load, *history.Recorder) []history.Loss) result {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	rec, err := history.Open(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cfg.Nodes, cfg.Rec, cfg.Document, cfg.Pace = c.config(), rec, document, quick
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if missing := l.missing(); len(missing) > 0 {
		t.Errorf("started without %v", missing)
	}
	in := history.Input{Path: path, Losses: []history.Loss{}, Without: []string{history.VerdictHashes, history.VerdictLeaders}}
	more(ctx, t, l, 15)
	if fault != nil {
		in.Losses = fault(l, rec)
		more(ctx, t, l, 15)
	}
	if err := l.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if in.Nodes, in.Occurrences, err = l.Final(ctx); err != nil {
		t.Fatal(err)
	}
	in.Counts, in.Schedules = l.Counts(), l.Schedules()
	if err := rec.Close(); err != nil {
		t.Fatal(err)
	}
	ops, _, err := history.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return result{l, history.Check(in), ops}
}

// more waits until every kind that is there has n acknowledged operations more.
func more(ctx context.Context, t *testing.T, l *Load, n int) {
	t.Helper()
	from := l.Acknowledged()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		enough := true
		for k, now := range l.Acknowledged() {
			enough = enough && (from[k] == 0 || now >= from[k]+n)
		}
		if enough {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("from %v to %v only", from, l.Acknowledged())
		}
	}
}

var everything = Config{Seed: 1, Writers: 3, Comparers: 2, Readers: 3, Tasks: 2, Sessions: 20, SocketShare: 5}

// The load is acknowledged, recorded and right on a cluster that is.
func TestLoad(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("run", func(t *testing.T) {
		r := run(t, newCluster(t, 3), everything, nil)
		if !r.report.Passed() {
			t.Errorf("%+v", r.report.Failed())
		}
		if len(r.report.Failures) != 0 {
			t.Errorf("%d requests failed, the first: %+v", len(r.report.Failures), r.report.Failures[0])
		}
		recorded := map[history.Kind]int{}
		values := map[string]bool{}
		clients := map[int]bool{}
		asked := map[history.Kind]map[string]bool{history.Read: {}, history.StaleRead: {}}
		owner := map[string]string{}
		for _, o := range r.ops {
			reader := o.Client > everything.Writers+everything.Comparers
			if m := asked[o.Kind]; m != nil && reader {
				m[o.Node] = true
			}
			if o.Kind == history.Request {
				if o.Owner != owner[o.Key] {
					t.Errorf("session %s belonged to %q: %s", o.Key, owner[o.Key], &o)
				}
				owner[o.Key] = o.Value
			}
			if o.Outcome == history.OK {
				recorded[o.Kind]++
			}
			if o.Kind == history.Write || o.Kind == history.CompareAndSet {
				if values[o.Value] {
					t.Errorf("written twice: %s", &o)
				}
				values[o.Value] = true
			}
			if o.Kind == history.Request {
				clients[o.Client] = true
			}
		}
		for k, n := range r.load.Acknowledged() {
			if n == 0 || recorded[k] < n {
				t.Errorf("%s: %d acknowledged, %d recorded", k, n, recorded[k])
			}
		}
		if len(asked[history.Read]) != 3 || len(asked[history.StaleRead]) < 2 {
			t.Errorf("too few nodes were read: %v", asked)
		}
		if len(clients) != everything.Sessions {
			t.Errorf("%d sessions made requests, not %d", len(clients), everything.Sessions)
		}
	})
	for range 200 { // what the servers leave ends soon
		if runtime.NumGoroutine() <= before+2 {
			return
		}
		runtime.Gosched()
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // for net/http's own goroutines
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

// A node that is lost: clients go on elsewhere, what fails there is recorded and excused,
// and its sessions move.
func TestLostNode(t *testing.T) {
	c := newCluster(t, 3)
	r := run(t, c, everything, func(l *Load, rec *history.Recorder) []history.Loss {
		n := c.nodes[1]
		loss := history.Loss{Node: n.name, Kind: history.LossKilled, At: rec.Now()}
		l.Lost(n.name, loss.At)
		c.kill(n, true)
		more(t.Context(), t, l, 40)
		c.kill(n, false)
		loss.Back = rec.Now()
		l.Back(n.name, loss.Back)
		return []history.Loss{loss}
	})
	if !r.report.Passed() {
		t.Errorf("%+v", r.report.Failed())
	}
	unknown, marks := 0, 0
	answered := map[int]time.Duration{}
	for _, o := range r.ops {
		if o.Kind == history.Message && o.Outcome == history.OK {
			answered[o.Client] = o.End
		}
		if strings.HasPrefix(o.Detail, "since the last answer") && o.Begin != answered[o.Client] {
			t.Errorf("it did not break at %s: %s", answered[o.Client], &o)
		}
		switch {
		case o.Kind == history.Lost || o.Kind == history.Back:
			marks++
		case o.Outcome != history.OK && o.Node == "n2":
			unknown++
		}
	}
	if unknown == 0 || marks != 2 || len(r.report.Failures) == 0 || len(r.report.Outages) != 1 {
		t.Errorf("%d tries failed at the lost node, %d marks, %d failures, outages %+v", unknown, marks, len(r.report.Failures), r.report.Outages)
	}
	i := slices.IndexFunc(r.report.Figures, func(f history.Figure) bool { return f.Name == "sessions that moved" })
	if i < 0 || r.report.Figures[i].Value == 0 {
		t.Errorf("no session moved: %+v", r.report.Figures)
	}
}

// Clusters that are wrong are found out.
func TestSeededBugs(t *testing.T) {
	for _, tc := range []struct {
		name    string
		seed    func(*cluster)
		verdict string
	}{
		{"an acknowledged write is forgotten", func(c *cluster) { c.forget = true }, history.VerdictLinearizability},
		{"preconditions are not checked", func(c *cluster) { c.swapAll = true }, history.VerdictLinearizability},
		{"stale answers without label", func(c *cluster) { c.unmarked = true }, history.VerdictStale},
		{"attempts started twice", func(c *cluster) { c.twice = true }, history.VerdictAttempts},
		{"sessions wander", func(c *cluster) { c.wander = true }, history.VerdictMoves},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, 3)
			tc.seed(c)
			r := run(t, c, everything, nil)
			if !slices.ContainsFunc(r.report.Failed(), func(v history.Verdict) bool { return v.Name == tc.verdict && v.Violations > 0 }) {
				t.Errorf("%s did not find it: %+v", tc.verdict, r.report.Verdicts)
			}
		})
	}
}

func TestStartFails(t *testing.T) {
	c := newCluster(t, 1)
	c.kill(c.nodes[0], true)
	rec, err := history.Open(filepath.Join(t.TempDir(), "h"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer rec.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Config{Nodes: c.config(), Rec: rec, Writers: 1, Pace: quick}); err == nil || !strings.Contains(err.Error(), "it is so") {
		t.Errorf("a cluster without quorum: %v", err)
	}
	for _, cfg := range []Config{{}, {Nodes: c.config(), Rec: rec, Sessions: 1}, {Nodes: c.config(), Rec: rec, Writers: 57}} {
		if _, err := Start(t.Context(), cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestOutcome(t *testing.T) {
	problem := func(code string) []byte { return []byte(`{"code":"` + code + `","detail":"d"}`) }
	for _, tc := range []struct {
		name   string
		status int
		body   []byte
		err    error
		want   history.Outcome
	}{
		{"done", 200, nil, nil, history.OK},
		{"made", 201, nil, nil, history.OK},
		{"precondition", 412, nil, nil, history.Refused},
		{"malformed", 400, problem("invalid"), nil, history.Refused},
		{"denied", 403, problem("denied"), nil, history.Refused},
		{"limit", 409, problem("limit"), nil, history.Refused},
		{"busy", 503, problem("busy"), nil, history.Refused},
		{"no quorum", 503, problem("no_quorum"), nil, history.Refused},
		{"no quorum may still be carried out", 503, []byte(`{"code":"no_quorum","maybe_done":true}`), nil, history.Unknown},
		{"behind", 503, problem("behind"), nil, history.Unknown},
		{"closing", 503, problem("closing"), nil, history.Unknown},
		{"unknown", 504, problem("unknown_outcome"), nil, history.Unknown},
		{"timeout", 504, problem("timeout"), nil, history.Unknown},
		{"internal", 500, problem("internal"), nil, history.Unknown},
		{"somebody else", 404, []byte("<html>"), nil, history.Unknown},
		{"never sent", 0, nil, errNotSent, history.Refused},
		{"cut", 0, nil, http.ErrAbortHandler, history.Unknown},
	} {
		if got, _ := outcome(answer{status: tc.status, body: tc.body}, tc.err); got != tc.want {
			t.Errorf("%s: %s, not %s", tc.name, got, tc.want)
		}
	}
}

func TestKeysFor(t *testing.T) {
	for _, tc := range []struct{ w, c, r, want int }{{1, 0, 1, 1}, {1, 1, 1, 2}, {3, 3, 3, 2}, {8, 0, 0, 1}, {8, 8, 8, 4}, {12, 21, 21, 7}, {0, 0, 0, 1}} {
		if got, err := keysFor(tc.w, tc.c, tc.r); err != nil || got != tc.want {
			t.Errorf("%+v: %d, %v", tc, got, err)
		}
	}
	if _, err := keysFor(57, 0, 0); err == nil {
		t.Error("57 writers have no room")
	}
}

func TestRoute(t *testing.T) {
	r := newRoute(3, 4)
	if n := r.next(0); n != 1 {
		t.Fatalf("home is %d", n)
	}
	if p := r.failed(0); p != backoffMin || r.next(time.Second) != 2 {
		t.Errorf("pause %s, then at %d", p, r.at)
	}
	if r.failed(time.Second); r.next(homeAfter-1) != 0 {
		t.Errorf("at %d", r.at)
	}
	if r.next(homeAfter) != 1 {
		t.Error("it does not come home")
	}
	for range 100 {
		if p := r.failed(0); p > backoffMax {
			t.Fatalf("pause %s", p)
		}
	}
	if r.worked(); r.failed(0) != backoffMin {
		t.Error("a success does not end the backing off")
	}
}

// A client sleeps about as long as it should, and not at all once the load stops.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Load{quit: make(chan struct{})}
		rng := l.rng(1)
		began := time.Now()
		for range 100 {
			l.sleep(rng, time.Second)
		}
		if d := time.Since(began); d < 90*time.Second || d > 110*time.Second {
			t.Errorf("100 times a second took %s", d)
		}
		close(l.quit)
		if began = time.Now(); l.sleep(rng, time.Hour) || time.Since(began) != 0 {
			t.Error("it sleeps although the load stops")
		}
	})
}
