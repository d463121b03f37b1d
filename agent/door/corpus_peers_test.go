package door

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
)

// haproxyConfig and nginxConfig put a proxy in front of a door, as it comes: it listens on
// the first address and leads to the second.
const haproxyConfig = `defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
listen door
    bind %[1]s
    server door %[2]s
`

const nginxConfig = `daemon off;
pid %[3]s/nginx.pid;
error_log %[3]s/error.log;
events { worker_connections 256; }
http {
    access_log off;
    client_body_buffer_size 1m;
    client_max_body_size 0;
    proxy_ignore_client_abort on; # a client that has said all is none that has gone
    client_body_temp_path %[3]s/body;
    proxy_temp_path %[3]s/proxy;
    fastcgi_temp_path %[3]s/fastcgi;
    uwsgi_temp_path %[3]s/uwsgi;
    scgi_temp_path %[3]s/scgi;
    server {
        listen %[1]s;
        location / { proxy_pass http://%[2]s; proxy_http_version 1.1; }
    }
}
`

// TestCorpusBehindProxies sends the corpus through other proxies: whatever they make of it, the
// engine sees exactly the requests that the door has logged as served. scripts/corpus.sh says where
// the proxies are.
func TestCorpusBehindProxies(t *testing.T) {
	for _, c := range []struct{ name, config string }{{"haproxy", haproxyConfig}, {"nginx", nginxConfig}} {
		t.Run(c.name, func(t *testing.T) {
			program := os.Getenv("USHER_CORPUS_" + strings.ToUpper(c.name))
			if program == "" {
				t.Skip("see scripts/corpus.sh")
			}
			behindProxy(t, program, c.config)
		})
	}
}

func behindProxy(t *testing.T, program, config string) {
	s := newScribe(t)
	var lines bytes.Buffer
	p := newPairBeside(t, s, func(c *Config) {
		c.AccessLog = zerolog.New(&lines)
		set := DefaultSettings()
		set.AccessLog = AccessAll
		c.Settings = func() *Settings { return set }
	})
	address := startProxy(t, program, config, p.users[1].Addr().String())
	all := readCorpus(t)
	ends := map[string]int{}
	var seen []string
	for _, c := range all {
		got := s.through(t, address, c.raw)
		seen = append(seen, got...)
		switch {
		case len(got) > 0:
			ends["led to the engine"]++
		default:
			ends["refused on the way"]++
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.doors[1].Shutdown(ctx); err != nil { // all is logged then
		t.Error(err)
	}
	t.Logf("%d cases: %v", len(all), ends)
	for i, note := range seen { // the log has neither query nor length
		method, target, _ := strings.Cut(note, " ")
		target, _, _ = strings.Cut(target, "+")
		if u, err := url.ParseRequestURI(target); err == nil {
			target = u.Path
		}
		seen[i] = method + " " + target
	}
	logged := served(t, &lines)
	slices.Sort(seen)
	slices.Sort(logged)
	if d := cmp.Diff(logged, seen); d != "" {
		t.Errorf("-logged by the door +seen by the engine:\n%s", d)
	}
	if len(logged) < 100 {
		t.Errorf("%d requests came through", len(logged))
	}
}

// through sends a case to a proxy and waits for its end; it returns what the engine noted.
func (s *scribe) through(t *testing.T, address, raw string) []string {
	t.Helper()
	_ = s.became(t, address, "", raw)
	return s.kept()
}

// served are the requests that the access log has as answered by the engine.
func served(t *testing.T, log *bytes.Buffer) []string {
	var out []string
	for line := range bytes.Lines(log.Bytes()) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		if status, _ := l[logs.Status].(float64); l[logs.Engine] != nil && status == http.StatusOK {
			out = append(out, fmt.Sprint(l[logs.Method], " ", l[logs.Path]))
		}
	}
	return out
}

// startProxy runs a proxy before a door, and returns its address.
func startProxy(t *testing.T, program, config, door string) string {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the proxies cannot say which port they got
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, fmt.Appendf(nil, config, address, door, dir), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-f", file, "-db"}
	if filepath.Base(program) == "nginx" {
		args = []string{"-c", file, "-p", dir}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &words, &words
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its words are shown when it does not come up
		close(ended)
	}()
	t.Cleanup(func() { _ = cmd.Process.Signal(os.Interrupt); <-ended })
	for {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = c.Close()
			return address
		}
		select {
		case <-ended:
			t.Fatalf("%s does not run: %s", program, words.String())
		case <-t.Context().Done():
			t.Fatal("it does not come up")
		default:
		}
	}
}
