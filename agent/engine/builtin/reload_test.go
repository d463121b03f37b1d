package builtin

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ushercluster/usher/agent/engine"
)

func rowsOf(t *testing.T, s *Server, key string) int {
	t.Helper()
	w := get(s, "/doc/"+key+"/api/query?limit=0")
	if w.Code != 200 {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return decode[queryAnswer](t, w.Body).Rows
}

func TestReload(t *testing.T) {
	s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, nil)
	if n := rowsOf(t, s, "a"); n != 1 {
		t.Fatalf("%d rows", n)
	}
	put(t, dir, "a", "v\n1\n2\n3\n")
	if n := rowsOf(t, s, "a"); n != 1 {
		t.Errorf("%d rows before the reload: documents change by reloads only", n)
	}
	w := post(s, t.Context(), engine.ReloadRequest{Document: "a", Task: "t", Attempt: 1, Fence: 5})
	if res := decode[engine.ReloadResult](t, w.Body); w.Code != 200 || res.Rows != 3 {
		t.Fatalf("%d %+v", w.Code, res)
	}
	if n := rowsOf(t, s, "a"); n != 3 {
		t.Errorf("%d rows after the reload", n)
	}
	wantProblem(t, post(s, t.Context(), engine.ReloadRequest{Document: "none"}), 404, engine.CodeUnknown)
	wantProblem(t, post(s, t.Context(), engine.ReloadRequest{}), 400, engine.CodeBadRequest)
}

func TestReloadOfAHalfWrittenFileKeepsTheOldData(t *testing.T) {
	s, dir := newServer(t, map[string]string{"a": "k,v\nx,1\ny,2\n"}, nil)
	rowsOf(t, s, "a")
	for name, tc := range map[string]struct {
		content      string
		line, column int
	}{
		"within a line":  {"k,v\nx,1\ny,2\nz", 4, 1},
		"within a field": {"k,v\nx,1\ny,2\nz,12", 4, 3},
		"empty":          {"", 1, 1},
	} {
		put(t, dir, "a", tc.content)
		p := wantProblem(t, post(s, t.Context(), engine.ReloadRequest{Document: "a"}), 422, engine.CodeMalformed)
		if p.Line != tc.line || p.Column != tc.column || p.Error == "" {
			t.Errorf("%s: problem %+v", name, p)
		}
		if n := rowsOf(t, s, "a"); n != 2 {
			t.Errorf("%s: %d rows, want the old 2", name, n)
		}
	}
	if err := os.Remove(filepath.Join(dir, "a.csv")); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, post(s, t.Context(), engine.ReloadRequest{Document: "a"}), 404, engine.CodeUnknown)
	if n := rowsOf(t, s, "a"); n != 2 {
		t.Errorf("%d rows after the file has gone, want the old 2", n)
	}
}

func TestFences(t *testing.T) {
	s, _ := newServer(t, map[string]string{"a": "v\n1\n", "b": "v\n1\n"}, nil)
	for i, step := range []struct {
		doc   string
		fence uint64
		want  int
	}{
		{"a", 10, 200}, {"a", 9, 409}, {"a", 10, 200}, {"a", 0, 200}, {"a", 9, 409}, {"b", 9, 200}, {"a", 11, 200}, {"a", 10, 409},
	} {
		w := post(s, t.Context(), engine.ReloadRequest{Document: step.doc, Fence: step.fence})
		if w.Code != step.want {
			t.Errorf("step %d, document %s with token %d: %d, want %d", i, step.doc, step.fence, w.Code, step.want)
		}
		if step.want == 409 {
			wantProblem(t, w, 409, engine.CodeStaleFence)
		}
	}
}

func slow(o *Options) {
	o.ReloadDelay = func(string) time.Duration { return time.Minute }
}

// begin starts a reload and returns its answer later.
func begin(s *Server, ctx context.Context, req engine.ReloadRequest) <-chan *httptest.ResponseRecorder {
	c := make(chan *httptest.ResponseRecorder, 1)
	go func() { c <- post(s, ctx, req) }()
	synctest.Wait()
	return c
}

func TestReloadsOfOneDocument(t *testing.T) {
	tests := map[string]struct {
		first, second uint64
		wantFirst     string // "" is success
		wantSecond    string
	}{
		"the same token is refused":        {7, 7, "", engine.CodeRunning},
		"a lower token is stale":           {7, 6, "", engine.CodeStaleFence},
		"a higher token takes over":        {7, 8, engine.CodeStaleFence, ""},
		"no token waits its turn":          {7, 0, "", engine.CodeRunning},
		"none does not stop none":          {0, 0, "", engine.CodeRunning},
		"a token goes before none at work": {0, 7, engine.CodeStaleFence, ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, slow)
				first := begin(s, t.Context(), engine.ReloadRequest{Document: "a", Fence: tc.first})
				time.Sleep(30 * time.Second)
				put(t, dir, "a", "v\n1\n2\n")
				second := begin(s, t.Context(), engine.ReloadRequest{Document: "a", Fence: tc.second})
				for i, c := range []struct {
					got  *httptest.ResponseRecorder
					want string
				}{{<-first, tc.wantFirst}, {<-second, tc.wantSecond}} {
					switch {
					case c.want != "":
						wantProblem(t, c.got, 409, c.want)
					case c.got.Code != 200:
						t.Errorf("reload %d: %d %s", i, c.got.Code, c.got.Body)
					}
				}
			})
		})
	}
}

// The one who was superseded must not publish, however late it wakes.
func TestSupersededReloadPublishesNothing(t *testing.T) {
	s, _ := newServer(t, map[string]string{"a": "v\n1\n"}, nil)
	d, err := s.library.document("a")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	old := &reloading{fence: 1, cancel: cancel, done: make(chan struct{})}
	if err := d.claim(ctx, old); err != nil {
		t.Fatal(err)
	}
	younger := &reloading{fence: 2, cancel: func(error) {}, done: make(chan struct{})}
	if wait, err := d.tryClaim(younger); wait != old || err != nil {
		t.Fatalf("got %v, %v", wait, err)
	}
	for _, c := range []context.Context{ctx, t.Context()} { // by its context, and by its token alone
		if err := d.publish(c, old, &Table{}); codeOf(err) != engine.CodeStaleFence {
			t.Errorf("got %v", err)
		}
	}
	aborted, abort := context.WithCancel(t.Context())
	abort()
	if err := d.publish(aborted, &reloading{}, &Table{}); codeOf(err) != engine.CodeAborted {
		t.Errorf("an aborted reload without a token: got %v", err)
	}
	if d.current() != nil {
		t.Error("it published")
	}
}

func TestReloadEndsEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, slow)
		rowsOf(t, s, "a")
		put(t, dir, "a", "v\n1\n2\n")

		ctx, cancel := context.WithCancel(t.Context())
		aborted := begin(s, ctx, engine.ReloadRequest{Document: "a", Task: "t", Attempt: 1})
		cancel()
		wantProblem(t, <-aborted, 503, engine.CodeAborted)

		start := time.Now()
		wantProblem(t, post(s, t.Context(), engine.ReloadRequest{Document: "a", Task: "t", Attempt: 2, TimeoutSeconds: 30}), 504, engine.CodeTimeout)
		if d := time.Since(start); d != 30*time.Second {
			t.Errorf("the timeout took %v", d)
		}

		last := begin(s, t.Context(), engine.ReloadRequest{Document: "a", Task: "t", Attempt: 3})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if w := <-last; w.Code != 503 {
			t.Errorf("at Close: %d", w.Code)
		}
		d, _ := s.library.document("a")
		if n := d.current().Rows; n != 1 {
			t.Errorf("%d rows: a reload that ended early changed the data", n)
		}
		if w := get(s, "/"); w.Code != 503 {
			t.Errorf("after Close: %d", w.Code)
		}
		c := s.Counters()
		if got := c.Documents["a"]; got != (Reloads{Started: 3, Failed: 3}) {
			t.Errorf("counters %+v", got)
		}
	})
}

func TestAttemptCounters(t *testing.T) {
	s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, nil)
	due := time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC)
	req := engine.ReloadRequest{Document: "a", Task: "nightly", Occurrence: due, Attempt: 1, Fence: 5}
	post(s, t.Context(), req)
	req.Occurrence = due.In(time.FixedZone("", 3600)) // the same instant
	post(s, t.Context(), req)
	req.Fence = 4
	post(s, t.Context(), req)
	put(t, dir, "a", "v,w\n1\n")
	req.Attempt, req.Fence = 2, 6
	post(s, t.Context(), req)
	want := []AttemptCount{
		{Attempt{"a", "nightly", due, 1}, Reloads{Started: 2, Finished: 2, Refused: 1}, 4, engine.CodeStaleFence},
		{Attempt{"a", "nightly", due, 2}, Reloads{Started: 1, Failed: 1}, 6, engine.CodeMalformed},
	}
	c := decode[Counters](t, get(s, "/counters").Body)
	if diff := cmp.Diff(want, c.Attempts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]Reloads{"a": {Started: 3, Finished: 2, Failed: 1, Refused: 1}}, c.Documents); diff != "" {
		t.Error(diff)
	}
	for i := range maxAttempts + 10 {
		s.ledger.record(Attempt{Document: "a", Attempt: i + 100}, 0, reloadStarted, "running")
	}
	_, attempts := s.ledger.snapshot()
	if len(attempts) != maxAttempts || attempts[0].Attempt.Attempt != 110 || len(s.ledger.attempts) != maxAttempts {
		t.Errorf("%d attempts from %+v", len(attempts), attempts[0])
	}
}

// Queries see all of one version or all of another, while reloads swap them.
func TestReloadIsAtomic(t *testing.T) {
	version := func(n int) string {
		return "k,v\n" + strings.Repeat(fmt.Sprintf("k%d,%d\n", n, n), 500*n)
	}
	s, dir := newServer(t, map[string]string{"a": version(1)}, nil)
	rowsOf(t, s, "a")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for seen := 0; ; seen++ {
				select {
				case <-stop:
					if seen == 0 {
						t.Error("no query ran")
					}
					return
				default:
				}
				ans := decode[queryAnswer](t, get(s, "/doc/a/api/query?sum=v&limit=1").Body)
				n := ans.Rows / 500
				if want := fmt.Sprint(500 * n * n); ans.Sums["v"].String() != want || ans.Data[0][1] != fmt.Sprint(n) {
					t.Errorf("%d rows sum to %s, want %s; first %v", ans.Rows, ans.Sums["v"], want, ans.Data[0])
					return
				}
			}
		})
	}
	for i := range 40 {
		content := version(1 + i%3)
		if i%4 == 3 {
			content = content[:len(content)-2]
		}
		put(t, dir, "a", content)
		if w := post(s, t.Context(), engine.ReloadRequest{Document: "a", Fence: uint64(i + 1)}); (w.Code == 200) == (i%4 == 3) {
			t.Errorf("reload %d: %d %s", i, w.Code, w.Body)
		}
	}
	close(stop)
	wg.Wait()
}

// The engine's client and this server agree.
func TestWithTheEngineClient(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, func(o *Options) { slow(o); o.SecretFile = secret })
		rowsOf(t, s, "a")
		_, host, stop := listen(t, s)
		defer stop()
		client := func(secret string) *engine.Engine {
			cfg, err := engine.ParseFlag("demo=http://" + listenAddr)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Health.Path, cfg.API.SecretFile = "/healthz", secret
			e, err := engine.New(cfg, engine.Options{Dial: host.DialContext})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		e := client(secret)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- e.Run(ctx) }()
		synctest.Wait()
		st := e.Status()
		if st.Health != "healthy" || st.Report == nil || !cmp.Equal(st.Report.Keys(9), []string{"a"}) {
			t.Errorf("status %+v, report %+v", st, st.Report)
		}
		// A minute is longer than the server's timeouts.
		if res, err := e.Reload(ctx, engine.ReloadRequest{Document: "a", Fence: 3}); err != nil || res.Rows != 1 || res.DurationMS != 60_000 {
			t.Errorf("got %+v, %v", res, err)
		}
		put(t, dir, "a", "v,w\n1,2\n3\n")
		for _, c := range []struct {
			e    *engine.Engine
			req  engine.ReloadRequest
			want engine.ReloadError
		}{
			{e, engine.ReloadRequest{Document: "a", Fence: 2}, engine.ReloadError{Code: engine.CodeStaleFence, Permanent: true}},
			{e, engine.ReloadRequest{Document: "a", Fence: 4}, engine.ReloadError{Code: engine.CodeMalformed, Line: 3, Column: 1}},
			{e, engine.ReloadRequest{Document: "x"}, engine.ReloadError{Code: engine.CodeUnknown, Permanent: true}},
			{e, engine.ReloadRequest{Document: "a", TimeoutSeconds: 9}, engine.ReloadError{Code: engine.CodeTimeout}},
			{client(""), engine.ReloadRequest{Document: "a"}, engine.ReloadError{Code: engine.CodeDenied, Permanent: true}},
		} {
			_, err := c.e.Reload(ctx, c.req)
			if diff := cmp.Diff(&c.want, err, cmpopts.IgnoreFields(engine.ReloadError{}, "Message", "Err")); diff != "" {
				t.Errorf("%+v: %s", c.req, diff)
			}
		}
		// An abort at the client is an abort at the engine.
		actx, abort := context.WithTimeout(ctx, 10*time.Second)
		defer abort()
		if _, err := e.Reload(actx, engine.ReloadRequest{Document: "a", Task: "gone"}); err == nil {
			t.Error("no error")
		}
		synctest.Wait()
		attempts := s.Counters().Attempts
		if last := attempts[len(attempts)-1]; last.Task != "gone" || last.Result != engine.CodeAborted {
			t.Errorf("the engine did not notice the abort: %+v", last)
		}
		cancel()
		<-done
	})
}

func TestFirstUseIsOneLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looks atomic.Int64
		s, dir := newServer(t, map[string]string{"a": "v\n" + strings.Repeat("1\n", 5000), "bad": "v,w\n1\n"}, func(o *Options) {
			o.Now = func() time.Time { looks.Add(1); return time.Now() } // each load looks at the clock once
		})
		looks.Store(0)
		tables := make([]*Table, 16)
		var wg sync.WaitGroup
		for i := range tables {
			wg.Go(func() { tables[i], _ = s.library.open(t.Context(), "a") })
		}
		wg.Wait()
		for _, tab := range tables {
			if tab == nil || tab != tables[0] {
				t.Fatal("two users got two tables")
			}
		}
		if n := looks.Load(); n != 1 {
			t.Errorf("%d loads for 16 users", n)
		}
		_, first := s.library.open(t.Context(), "bad")
		_, second := s.library.open(t.Context(), "bad")
		if first == nil || first != second {
			t.Errorf("an unchanged bad file was read again: %v, %v", first, second)
		}
		put(t, dir, "bad", "v,w\n1,2\n")
		if n := rowsOf(t, s, "bad"); n != 1 {
			t.Errorf("%d rows after the file was mended", n)
		}
	})
}

// spying is a context whose nth question runs fn: a writer who comes between two
// looks at a file.
type spying struct {
	context.Context
	n  int
	fn func()
}

func (s *spying) Err() error {
	if s.n--; s.n == 0 {
		s.fn()
	}
	return nil
}

func TestAFileThatChangesWhileItIsReadIsRefused(t *testing.T) {
	for name, n := range map[string]int{"in the first pass": 1, "in the second pass": 2, "not at all": 99} {
		s, dir := newServer(t, map[string]string{"a": "v\n1\n"}, nil)
		ctx := &spying{t.Context(), n, func() {
			f, err := os.OpenFile(filepath.Join(dir, "a.csv"), os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("2\n")
			}
			if err != nil || f.Close() != nil {
				t.Error(err)
			}
		}}
		_, _, err := s.library.read(ctx, "a")
		if changed := n < 99; errors.Is(err, errChanged) != changed {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
