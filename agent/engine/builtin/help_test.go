package builtin

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/transport/memnet"
)

var update = flag.Bool("update", false, "rewrite golden files")

// put replaces a document's file in one step, as a careful exporter does.
func put(t *testing.T, dir, key, content string) {
	t.Helper()
	tmp := filepath.Join(dir, ".tmp-"+key)
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, key+suffix)); err != nil {
		t.Fatal(err)
	}
}

// newServer makes a server over a directory that holds docs, closed with the test.
func newServer(t *testing.T, docs map[string]string, change func(*Options)) (*Server, string) {
	t.Helper()
	dir := t.TempDir()
	for key, content := range docs {
		put(t, dir, key, content)
	}
	o := Options{Dir: dir, Name: "demo", Node: func() string { return "node-a" }}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, dir
}

// get asks without a network.
func get(s http.Handler, target string, header ...string) *httptest.ResponseRecorder {
	return do(s, httptest.NewRequest(http.MethodGet, target, nil), header...)
}

func do(s http.Handler, r *http.Request, header ...string) *httptest.ResponseRecorder {
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// post sends a reload without a network.
func post(s http.Handler, ctx context.Context, req engine.ReloadRequest) *httptest.ResponseRecorder {
	b, _ := json.Marshal(req)
	return do(s, httptest.NewRequest(http.MethodPost, engine.DefaultPrefix+"reload", bytes.NewReader(b)).WithContext(ctx))
}

func decode[T any](t *testing.T, r io.Reader) T {
	t.Helper()
	var v T
	if err := json.NewDecoder(r).Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func wantProblem(t *testing.T, w *httptest.ResponseRecorder, status int, code string) engine.Problem {
	t.Helper()
	if w.Code != status || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s: %s; want %d", w.Code, w.Header().Get("Content-Type"), w.Body, status)
	}
	p := decode[engine.Problem](t, w.Body)
	if p.Code != code || p.Status != status {
		t.Errorf("got %+v, want code %q", p, code)
	}
	return p
}

// golden compares with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (rewrite with -update):\n%s", name, diff)
	}
}

const listenAddr = "127.0.0.1:4000"

// listen serves s on an in-memory host, inside a bubble.
func listen(t *testing.T, s *Server) (client *http.Client, host *memnet.Host, stop func()) {
	t.Helper()
	host = memnet.New().Host("node-a", "10.0.0.1")
	ln, err := host.Listen(context.Background(), "tcp", listenAddr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: s, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return host.DialContext(ctx, network, listenAddr)
	}}
	return &http.Client{Transport: tr}, host, func() {
		tr.CloseIdleConnections()
		_ = srv.Close()
		<-done
	}
}
