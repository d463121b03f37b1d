package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func testNow() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

// fixture is a program in a world of its own.
type fixture struct {
	*program
	out, err bytes.Buffer
	vars     map[string]string
	signal   chan os.Signal
	machine  *fakeMachine
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{vars: map[string]string{}, signal: make(chan os.Signal, 4), machine: &fakeMachine{}}
	f.program = &program{
		stdin: strings.NewReader(""), stdout: &f.out, stderr: &f.err,
		env:   func(k string) (string, bool) { v, ok := f.vars[k]; return v, ok },
		facts: config.Facts{UserDir: t.TempDir(), Hostname: "bi-1"},
		now:   testNow, signals: f.signal, machine: f.machine, executable: "/usr/bin/usher",
		build: build{Version: "v0.1.0", Commit: "abc", Go: "go1.26", Platform: "test/test"}, poll: time.Millisecond,
	}
	return f
}

// do runs one command line and returns what it printed.
func (f *fixture) do(args ...string) (code int, out, err string) {
	f.out.Reset()
	f.err.Reset()
	code = f.run(args)
	return code, f.out.String(), f.err.String()
}

// transcript is a golden file's form of a run.
func transcript(args []string, code int, out, err, requests string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "$ usher %s\nexit %d\n", strings.Join(args, " "), code)
	for _, part := range []struct{ name, text string }{{"stdout", out}, {"stderr", err}, {"requests", requests}} {
		if part.text != "" {
			fmt.Fprintf(&b, "--- %s\n%s", part.name, part.text)
		}
	}
	return b.String()
}

// fakeAPI answers like an agent's admin API from a table.
type fakeAPI struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]func(*http.Request) answer // by "METHOD /path"
	asked   strings.Builder
}

type answer struct {
	status int
	header map[string]string
	body   any
}

func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	api := &fakeAPI{answers: map[string]func(*http.Request) answer{}}
	api.Server = httptest.NewServer(api)
	t.Cleanup(api.Close)
	return api
}

// on gives the answers to one kind of request: one after the other, the last one
// for ever.
func (a *fakeAPI) on(request string, answers ...any) {
	n := 0
	a.answers[request] = func(*http.Request) answer {
		v := answers[min(n, len(answers)-1)]
		n++
		if as, ok := v.(answer); ok {
			return as
		}
		return answer{status: 200, body: v}
	}
}

func (a *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	fmt.Fprintf(&a.asked, "%s %s", r.Method, r.URL.RequestURI())
	if m := r.Header.Get("If-None-Match"); m != "" {
		fmt.Fprintf(&a.asked, " If-None-Match: %s", m)
	}
	if len(body) > 0 {
		fmt.Fprintf(&a.asked, " %s", body)
	}
	a.asked.WriteByte('\n')
	find, ok := a.answers[r.Method+" "+r.URL.Path]
	as := refused(404, "not_found", "there is no such thing", "")
	if ok {
		as = find(r)
	}
	w.Header().Set("X-Usher-Index", "812")
	w.Header().Set("Content-Type", "application/json")
	if _, bad := as.body.(*admin.Problem); bad {
		w.Header().Set("Content-Type", "application/problem+json")
	}
	for k, v := range as.header {
		w.Header().Set(k, v)
	}
	if raw, ok := as.body.([]byte); ok {
		w.WriteHeader(as.status)
		_, _ = w.Write(raw)
		return
	}
	w.WriteHeader(as.status)
	_ = json.NewEncoder(w).Encode(as.body)
}

func (a *fakeAPI) requests() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.asked.String()
	a.asked.Reset()
	return s
}

func refused(status int, code admin.Code, detail, next string) answer {
	return answer{status: status, body: &admin.Problem{Status: status, Code: code, Detail: detail, Next: next}}
}

func stale(body any) answer {
	return answer{status: 200, body: body, header: map[string]string{"X-Usher-Stale": "true", "X-Usher-Age": "42"}}
}

// fakeMachine stands for package agent.
type fakeMachine struct {
	mu      sync.Mutex
	has     bool
	id      peer.ID
	initial agent.InitResult
	err     error // of every call
	joined  []agent.JoinOptions
	cfg     config.Config
	runs    *fakeRun
	held    int // so many purges find an agent running
	joining func(context.Context) error
	purged  string

	recovery struct {
		agent.Recovery
		Ignored []string
	}
}

func (m *fakeMachine) HasIdentity(string) (bool, error) { return m.has, nil }
func (m *fakeMachine) NodeID(string) (peer.ID, error)   { return m.id, nil }
func (m *fakeMachine) Init(_ context.Context, cfg config.Config, name string, _ func() time.Time) (agent.InitResult, error) {
	m.cfg = cfg
	r := m.initial
	r.ClusterName = name
	return r, m.err
}

func (m *fakeMachine) Join(ctx context.Context, cfg config.Config, o agent.JoinOptions) (identity.JoinAnswer, error) {
	m.cfg = cfg
	m.joined = append(m.joined, o)
	o.Progress("asking 10.0.0.1:14747")
	if m.joining != nil {
		return identity.JoinAnswer{}, m.joining(ctx)
	}
	return identity.JoinAnswer{ClusterID: "c", ClusterName: "prod", NodeName: cfg.Node.Name, Contacts: []string{"10.0.0.1:14747"}}, m.err
}

func (m *fakeMachine) Open(cfg config.Config, _ agent.Options) (running, error) {
	m.cfg = cfg
	if m.err != nil {
		return nil, m.err
	}
	return m.runs, nil
}

func (m *fakeMachine) Restore(_ context.Context, cfg config.Config, o agent.RestoreOptions) (agent.InitResult, error) {
	m.cfg = cfg
	r := m.initial
	r.ClusterName, r.RecoveryKey = o.ClusterName, ""
	return r, m.err
}

func (m *fakeMachine) Recover(_ context.Context, _ config.Config, o agent.RecoverOptions) (agent.Recovery, error) {
	m.recovery.Ignored = o.Ignore
	if m.err == nil && !m.recovery.Finished {
		return m.recovery.Recovery, o.Confirm(m.recovery.Recovery)
	}
	return m.recovery.Recovery, m.err
}

func (m *fakeMachine) Purge(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held > 0 {
		m.held--
		return &identity.LockedError{Path: dir, PID: 7}
	}
	m.purged = dir
	return nil
}

// fakeRun is an agent that runs until it is told to stop, or hangs.
type fakeRun struct {
	started  chan struct{}
	ready    chan struct{}
	stopping chan struct{}
	hang     bool
	release  chan struct{} // ends a hang
	err      error
}

func newFakeRun() *fakeRun {
	return &fakeRun{started: make(chan struct{}), ready: make(chan struct{}), stopping: make(chan struct{})}
}

func (r *fakeRun) Run(ctx context.Context) error {
	close(r.started)
	<-ctx.Done()
	if r.hang {
		<-r.release
	}
	return r.err
}
func (r *fakeRun) Ready() <-chan struct{}    { return r.ready }
func (r *fakeRun) Stopping() <-chan struct{} { return r.stopping }
func (r *fakeRun) ID() peer.ID               { return "aaaaaaaaaaaaaaaa" }
func (r *fakeRun) Addrs() agent.Addrs {
	return agent.Addrs{Cluster: "10.0.0.1:14747", Advertise: "10.0.0.1:14747", Door: "10.0.0.1:8080", API: "127.0.0.1:14748"}
}
