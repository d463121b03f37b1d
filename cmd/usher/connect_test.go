package main

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ushercluster/usher/agent/config"
)

// socketAt serves the API on a Unix socket.
func socketAt(t *testing.T, path string, h http.Handler) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no Unix sockets here:", err)
	}
	srv := &http.Server{Handler: h}
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }()
}

func TestTheOwnSocketIsFound(t *testing.T) {
	for name, args := range map[string][]string{
		"default directory": {"setting", "get", "door.show_node"},
		"own directory":     {"leave", "--yes", "--data-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.fill()
			dir := filepath.Join(f.facts.UserDir, "usher")
			if name == "own directory" {
				dir = t.TempDir()
				args = append(args, dir)
			}
			socketAt(t, filepath.Join(dir, config.SocketName), api)
			code, _, err := f.do(args...)
			if code != exitDone || api.requests() == "" {
				t.Errorf("exit %d: %s", code, err)
			}
		})
	}
}

func TestWithoutASocketItIsTheDefaultPort(t *testing.T) {
	f := newFixture(t)
	code, _, err := f.do("status")
	// Whatever listens on that port of the machine that tests, it is named.
	if code == exitDone || !strings.Contains(err, "http://127.0.0.1:14748") {
		t.Errorf("exit %d: %s", code, err)
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	f := newFixture(t)
	code, out, stderr := f.do("status", "--address", "http://"+addr)
	if code != exitUnreachable || out != "" || !strings.Contains(stderr, addr) || !strings.Contains(stderr, "\nnext: ") {
		t.Errorf("exit %d, %q, %q", code, out, stderr)
	}
}

func TestToken(t *testing.T) {
	good := sampleToken(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(good+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		args  []string
		vars  map[string]string
		stdin string
		own   bool // write it as the data directory's admin.token
		want  string
		code  int
		says  string
	}{
		{name: "none", want: ""},
		{name: "environment", vars: map[string]string{"USHER_TOKEN": good}, want: good},
		{name: "file", args: []string{"--token-file", file}, want: good},
		{name: "file beats environment", args: []string{"--token-file", file}, vars: map[string]string{"USHER_TOKEN": "x"}, want: good},
		{name: "stdin", args: []string{"--token-file", "-"}, stdin: good, want: good},
		{name: "not a token", vars: map[string]string{"USHER_TOKEN": "hunter2"}, code: exitDenied, says: "API token in USHER_TOKEN: "},
		{name: "truncated", vars: map[string]string{"USHER_TOKEN": good[:30]}, code: exitDenied, says: "truncated: it has 30 of"},
		{name: "truncated on the way", args: []string{"--token-file", "-"}, stdin: good[:40], code: exitDenied, says: "API token in standard input: "},
		{name: "another file", args: []string{"--token-file", "connect_test.go"}, code: exitDenied, says: "over 4096 bytes"},
		{name: "a bad file", args: []string{"--token-file", "testdata/settings.json"}, code: exitDenied, says: "API token in testdata/settings.json: "},
		{name: "no file", args: []string{"--token-file", file + ".absent"}, code: exitDenied, says: "no such file"},
		// The first admin's token must not go to an address that was named.
		{name: "own token stays here", own: true, want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			got := ""
			api.answers["GET /v1/status"] = func(r *http.Request) answer {
				got = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				return answer{status: 200, body: statusOK()}
			}
			for k, v := range tt.vars {
				f.vars[k] = v
			}
			f.stdin = strings.NewReader(tt.stdin)
			if tt.own {
				writeOwnToken(t, f, good)
			}
			code, _, err := f.do(append([]string{"status", "--output", "json", "--address", api.URL}, tt.args...)...)
			if code != tt.code || got != tt.want {
				t.Errorf("exit %d, token %q: %s", code, got, err)
			}
			if !strings.Contains(err, tt.says) || tt.code != 0 && !strings.Contains(err, "\nnext: ") {
				t.Errorf("says %q", err)
			}
			if strings.Contains(err, "hunter2") {
				t.Error("the error shows the secret")
			}
		})
	}
}

func writeOwnToken(t *testing.T, f *fixture, token string) {
	t.Helper()
	dir := filepath.Join(f.facts.UserDir, "usher")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, adminTokenName), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheOwnTokenIsUsedForTheOwnAgent(t *testing.T) {
	good := sampleToken(t)
	f, api := newFixture(t), newFakeAPI(t)
	got := ""
	api.answers["GET /v1/status"] = func(r *http.Request) answer {
		got = r.Header.Get("Authorization")
		return answer{status: 200, body: statusOK()}
	}
	writeOwnToken(t, f, good)
	socketAt(t, filepath.Join(f.facts.UserDir, "usher", config.SocketName), api)
	if code, _, err := f.do("status", "--output", "json"); code != 0 || got != "Bearer "+good {
		t.Errorf("exit %d, %q: %s", code, got, err)
	}
}

func TestTimeout(t *testing.T) {
	f, api := newFixture(t), newFakeAPI(t)
	release := make(chan struct{})
	api.answers["GET /v1/status"] = func(*http.Request) answer {
		<-release
		return answer{status: 200, body: statusOK()}
	}
	t.Cleanup(func() { close(release) })
	code, _, err := f.do("status", "--address", api.URL, "--timeout", "20ms")
	if code != exitUnreachable {
		t.Errorf("exit %d: %s", code, err)
	}
}

func TestInterruptEndsACall(t *testing.T) {
	f, api := newFixture(t), newFakeAPI(t)
	release := make(chan struct{})
	api.answers["GET /v1/status"] = func(*http.Request) answer {
		f.signal <- os.Interrupt
		<-release
		return answer{status: 200, body: statusOK()}
	}
	t.Cleanup(func() { close(release) })
	code, _, err := f.do("status", "--address", api.URL)
	if code != exitFailed || err != "usher: interrupted\n" {
		t.Errorf("exit %d: %s", code, err)
	}
}
