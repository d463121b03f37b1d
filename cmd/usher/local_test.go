package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
)

func sampleToken(t *testing.T) string {
	t.Helper()
	token, err := identity.NewAPIToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return token.Reveal()
}

func TestInitGolden(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t)
	f.fixtureInit(dir)
	args := []string{"init", "--data-dir", dir, "--cluster-name", "prod", "--advertise", "10.0.0.1"}
	code, out, err := f.do(args...)
	text := transcript(args, code, out, err, "")
	code, out, err = f.do(append(args, "--output", "json")...)
	text += "\n" + transcript(append(args, "--output", "json"), code, out, err, "")
	golden(t, "init.txt", strings.ReplaceAll(text, dir, "/data"))
	saved, readErr := os.ReadFile(filepath.Join(dir, adminTokenName))
	if readErr != nil || string(saved) != "usht_admin\n" {
		t.Errorf("saved %q, %v", saved, readErr)
	}
	if info, err := os.Stat(filepath.Join(dir, adminTokenName)); err == nil && !f.facts.Windows && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

// fixtureInit is what the fake package agent answers to init.
func (f *fixture) fixtureInit(dir string) {
	f.machine.initial = agent.InitResult{
		ClusterID: "7f3c0000-0000-4000-8000-000000000000", NodeID: id1, NodeName: "bi-1", Advertise: "10.0.0.1:14747", DataDir: dir,
		AdminToken: "usht_admin", JoinToken: "ushj_join", JoinUses: 10, JoinExpires: testNow().Add(24 * time.Hour), RecoveryKey: "abcde-fghij",
	}
}

func TestLocalFailures(t *testing.T) {
	perm := func(text string) error { return fmt.Errorf("%w: %s", agent.ErrPermanent, text) }
	tests := []struct {
		name string
		err  error
		has  bool
		vars map[string]string
		args []string
		code int
		want string // in stderr
	}{
		{"init twice", perm("there is a node"), false, nil, []string{"init"}, exitPermanent, "next: start what is there"},
		{"init, ambiguous address", fmt.Errorf("%w: two", config.ErrAdvertise), false, nil, []string{"init"}, exitPermanent, "next: give --advertise"},
		{"init, agent runs", &identity.LockedError{Path: "x", PID: 1}, false, nil, []string{"init"}, exitFailed, "next: stop the agent"},
		{"init, bad flag value", nil, false, nil, []string{"init", "--bind", "14747"}, exitPermanent, "--bind: cluster.bind: \"14747\" is no address\nnext: "},
		{"join, node there", nil, true, nil, []string{"join", "10.0.0.1"}, exitPermanent, "there is a node"},
		{"join, no token", nil, false, nil, []string{"join", "10.0.0.1"}, exitPermanent, "next: make one on a node"},
		{"join, refused", &identity.JoinError{Code: identity.JoinExpired, Message: "expired", Next: "make a new one"}, false, map[string]string{"USHER_JOIN_TOKEN": "t"}, []string{"join", "10.0.0.1"}, exitFailed, "next: make a new one"},
		{"join, no quorum", &identity.JoinError{Code: identity.JoinNoQuorum, Message: "no quorum"}, false, map[string]string{"USHER_JOIN_TOKEN": "t"}, []string{"join", "10.0.0.1"}, exitNoQuorum, "no quorum"},
		{"join, bad contact", nil, false, nil, []string{"join", "http://x"}, exitPermanent, "is no address"},
		{"agent, no node", nil, false, nil, []string{"agent"}, exitPermanent, "next: make a cluster with usher init"},
		{"agent, no token", nil, false, nil, []string{"agent", "--join", "10.0.0.1"}, exitPermanent, "there is no join token"},
		{"agent, bad engine", nil, true, nil, []string{"agent", "--engine", "localhost:3838"}, exitPermanent, "--engine: engines: "},
		{"agent, same engine twice", nil, true, nil, []string{"agent", "--engine", "a=http://x:1", "--engine", "a=http://x:2"}, exitPermanent, "two engines are called a"},
		{"agent, no such file", nil, true, nil, []string{"agent", "--config", "/absent/usher.yaml"}, exitPermanent, "next: name a file"},
		{"agent, file of the environment", nil, true, map[string]string{"USHER_CONFIG": "/absent/usher.yaml"}, []string{"agent"}, exitPermanent, "/absent/usher.yaml"},
		{"agent, permanent", perm("the port is taken"), true, nil, []string{"agent"}, exitPermanent, "the port is taken"},
		{"agent, full disk", fmt.Errorf("%w: lock data directory: %w", agent.ErrPermanent, syscall.ENOSPC), true, nil, []string{"agent"}, exitFailed, "next: make room"},
		{"agent, busy port", fmt.Errorf("%w: open door: %w", agent.ErrPermanent, syscall.EADDRINUSE), true, nil, []string{"agent"}, exitFailed, "next: stop the program that has the port"},
		{"agent, passing", errors.New("disk is busy"), true, nil, []string{"agent"}, exitFailed, "disk is busy"},
		{"agent, demo is over", nil, true, nil, []string{"agent", "--demo", "/absent"}, exitPermanent, "is over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.machine.err, f.machine.has = tt.err, tt.has
			for k, v := range tt.vars {
				f.vars[k] = v
			}
			code, _, err := f.do(tt.args...)
			if code != tt.code || !strings.Contains(err, tt.want) {
				t.Errorf("exit %d, want %d with %q:\n%s", code, tt.code, tt.want, err)
			}
		})
	}
}

// A node whose certificate is lost is told apart from a directory that never was one,
// and does not join as a new node by itself.
func TestLostCertificate(t *testing.T) {
	tests := []struct {
		name  string
		files []string
		args  []string
		want  string
	}{
		{"never a node", nil, nil, "next: make a cluster with usher init"},
		{"a node has run", []string{"node.id", "node.key", "ca.pem", "raft"}, nil, "node.crt is missing"},
		{"and has a token", []string{"raft"}, []string{"--join", "10.0.0.1"}, "node.crt is missing"},
		{"a node was made", []string{"node.id", "node.key", "ca.pem"}, nil, "node.crt is missing"},
		{"a join was cut short", []string{"node.id", "node.key", "join.pending", "ca.pem"}, nil, "next: make a cluster with usher init"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			f.vars["USHER_JOIN_TOKEN"] = "ushj_x"
			dir := t.TempDir()
			for _, name := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, _, err := f.do(append([]string{"agent", "--data-dir", dir}, tt.args...)...)
			if code != exitPermanent || !strings.Contains(err, tt.want) || len(f.machine.joined) > 0 {
				t.Errorf("exit %d, joined %d times: %s", code, len(f.machine.joined), err)
			}
		})
	}
}

func TestJoin(t *testing.T) {
	f := newFixture(t)
	f.stdin = strings.NewReader("ushj_secret\n")
	code, out, err := f.do("join", "10.0.0.1", "10.0.0.2:9", "--join-token-file", "-", "--output", "json")
	var a joinAnswer
	if code != 0 || json.Unmarshal([]byte(out), &a) != nil || a.ClusterName != "prod" {
		t.Fatalf("exit %d: %s%s", code, out, err)
	}
	if len(f.machine.joined) != 1 || f.machine.joined[0].Token != "ushj_secret" {
		t.Errorf("joined %+v", f.machine.joined)
	}
	if got := strings.Join(f.machine.cfg.Cluster.Join, " "); got != "10.0.0.1 10.0.0.2:9" {
		t.Errorf("asked %s", got)
	}
	if !strings.Contains(err, "asking 10.0.0.1") {
		t.Errorf("no progress: %q", err)
	}
}

func TestPrintConfig(t *testing.T) {
	f := newFixture(t)
	f.facts.UserDir = "/home/ada/.local/share"
	path := filepath.Join(t.TempDir(), "usher.yaml")
	if err := os.WriteFile(path, []byte("door: {listen: ':80'}\nlog: {level: debug}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.vars["USHER_LOG_LEVEL"] = "warn"
	f.vars["USHER_ENGINE"] = "http://127.0.0.1:1" // the flag beats it
	args := []string{"agent", "--print-config", "--config", path, "--engine", "http://127.0.0.1:3838", "--engine", "py=http://127.0.0.1:8888"}
	code, out, err := f.do(args...)
	golden(t, "print-config.txt", strings.ReplaceAll(transcript(args, code, out, err, ""), path, "usher.yaml"))
	if f.machine.cfg.DataDir != "" {
		t.Error("an agent was opened")
	}
	code, out, err = f.do(append(args, "--door", "nonsense")...)
	if code != exitPermanent || !strings.Contains(out, "listen: nonsense # from --door") || !strings.Contains(err, "is no address") {
		t.Errorf("a bad one: exit %d\n%s%s", code, out, err)
	}
}

// A field that is true or false needs no value on the line, and may be given one.
func TestSwitchFields(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usher.yaml")
	if err := os.WriteFile(path, []byte("door: {proxy_protocol: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, env, flag, want string
	}{
		{"file", "", "", "proxy_protocol: true # from " + path + ":1"},
		{"environment", "false", "", "proxy_protocol: false # from USHER_DOOR_PROXY_PROTOCOL"},
		{"flag", "false", "--door-proxy-protocol", "proxy_protocol: true # from --door-proxy-protocol"},
		{"flag with a value", "true", "--door-proxy-protocol=false", "proxy_protocol: false # from --door-proxy-protocol"},
		{"neither", "on", "", "\"on\" is neither true nor false"},
	} {
		f := newFixture(t)
		f.facts.UserDir, f.vars["USHER_DOOR_PROXY_PROTOCOL"] = "/home/ada/.local/share", c.env
		args := []string{"agent", "--print-config", "--config", path}
		if c.flag != "" {
			args = append(args, c.flag)
		}
		if _, out, err := f.do(args...); !strings.Contains(out+err, c.want) {
			t.Errorf("%s:\n%s%s", c.name, out, err)
		}
	}
}

func TestLeave(t *testing.T) {
	api := newFakeAPI(t)
	api.fill()
	f := newFixture(t)
	f.vars["USHER_ADDRESS"] = api.URL
	t.Run("purge", func(t *testing.T) {
		f.machine.id, f.machine.held = id1, 3 // the agent takes a while to end
		code, out, err := f.do("leave", "--purge", "--yes", "--data-dir", "/data")
		if code != 0 || f.machine.purged != "/data" || !strings.Contains(api.requests(), "DELETE /v1/nodes/"+string(id1)) {
			t.Errorf("exit %d, purged %q: %s%s", code, f.machine.purged, out, err)
		}
	})
	t.Run("the agent that answers is another node", func(t *testing.T) {
		f.machine.id, f.machine.purged = id2, ""
		code, _, err := f.do("leave", "--purge", "--yes")
		if code != exitFailed || f.machine.purged != "" || strings.Contains(api.requests(), "DELETE") {
			t.Errorf("exit %d, purged %q: %s", code, f.machine.purged, err)
		}
	})
	t.Run("without purge", func(t *testing.T) {
		f.machine.purged = ""
		code, _, err := f.do("leave", "--yes")
		if code != 0 || f.machine.purged != "" || !strings.Contains(api.requests(), "DELETE") {
			t.Errorf("exit %d, purged %q: %s", code, f.machine.purged, err)
		}
	})
	t.Run("no agent", func(t *testing.T) {
		f.vars["USHER_ADDRESS"] = "unix:/absent.sock"
		if code, _, _ := f.do("leave", "--yes"); code != exitUnreachable {
			t.Errorf("without purge: exit %d", code)
		}
		if code, _, err := f.do("leave", "--purge", "--yes"); code != exitFailed || !strings.Contains(err, "there is no node in") {
			t.Errorf("no node: exit %d: %s", code, err)
		}
		f.machine.has = true
		if code, _, err := f.do("leave", "--purge"); code != exitUsage || f.machine.purged != "" {
			t.Errorf("not asked: exit %d: %s", code, err)
		}
		if code, _, err := f.do("leave", "--purge", "--yes", "--data-dir", "/data"); code != 0 || f.machine.purged != "/data" {
			t.Errorf("exit %d, purged %q: %s", code, f.machine.purged, err)
		}
	})
	t.Run("the agent does not end", func(t *testing.T) {
		f.machine.held = 1 << 20
		if code, _, err := f.do("leave", "--purge", "--yes"); code != exitFailed || !strings.Contains(err, "next: stop the agent") {
			t.Errorf("exit %d: %s", code, err)
		}
	})
}

// Purge removes the agent's files and nobody else's.
func TestPurgeLeavesOtherFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "raft"), 0o700); err != nil {
		t.Fatal(err)
	}
	const aside = "rolled-back-20260102T030405"
	if err := os.MkdirAll(filepath.Join(dir, "raft."+aside), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"raft/log", "state.cache", ".state.cache-123", "state.cache.damaged", adminTokenName, "report.csv",
		"raft." + aside + "/log", "state.cache." + aside,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := identity.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if err := (systemMachine{}).Purge(dir); !isHeld(err) {
		t.Errorf("purged under a running agent: %v", err)
	}
	if err := errors.Join(lock.Close(), systemMachine{}.Purge(dir)); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if e.Name() != "report.csv" && e.Name() != "LOCK" {
			t.Errorf("%s is left", e.Name())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "report.csv")); err != nil {
		t.Error(err)
	}
	if err := (systemMachine{}).Purge(filepath.Join(dir, "absent")); err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := []struct {
		path, want string
		code       int
	}{
		{write("good.yaml", "engines: [http://127.0.0.1:3838]\n"), "valid configuration", 0},
		{write("bad.yaml", "engines: [http://127.0.0.1:3838, ftp://x]\ndor: 1\n"), "bad.yaml:2: dor: it is not known", exitPermanent},
		{write("engine.yaml", "engines: [ftp://x]\ndoor: {listen: x}\n"), "engine.yaml:2: door.listen", exitPermanent},
		{write("engine2.yaml", "engines: [ftp://x]\n"), "engine2.yaml:1: engines: engine \"ftp://x\"", exitPermanent},
		{write("good.csv", "a,b\n1,2\n3,4\n"), "valid document with 2 rows", 0},
		{write("bad.csv", "a,b\n1,2\n3\n"), "bad.csv: line 3", exitFailed},
		{filepath.Join(dir, "absent.csv"), "no such file", exitFailed},
		{filepath.Join(dir, "absent.yaml"), "no such file", exitPermanent},
	}
	for _, tt := range tests {
		t.Run(filepath.Base(tt.path), func(t *testing.T) {
			f := newFixture(t)
			code, out, err := f.do("validate", tt.path)
			if code != tt.code || !strings.Contains(out+err, tt.want) {
				t.Errorf("exit %d, want %q:\n%s%s", code, tt.want, out, err)
			}
		})
	}
}

func TestSettingChanges(t *testing.T) {
	set := func(key, value, source string, modified uint64) admin.Setting {
		return admin.Setting{Key: key, Value: value, Source: source, Row: admin.Row{Modified: modified}}
	}
	before := byKey([]admin.Setting{set("a", "1", "default", 0), set("b", "2", "cluster", 5), set("c", "3", "cluster", 6)})
	now := byKey([]admin.Setting{set("c", "0", "default", 0), set("a", "9", "cluster", 7), set("b", "2", "cluster", 5)})
	var got []string
	for _, ch := range settingChanges(before, now, nil) {
		got = append(got, ch.Key+":"+ch.Old+">"+ch.Value)
	}
	if s := strings.Join(got, " "); s != "a:1>9 c:3>0" {
		t.Errorf("got %s", s)
	}
	if got := settingChanges(before, now, []string{"b"}); len(got) != 0 {
		t.Errorf("another key: %v", got)
	}
	if got := settingChanges(nil, now, nil); len(got) != 0 {
		t.Errorf("the first answer is no change: %v", got)
	}
}

// watchSettings runs the watch against an API whose first setting changes once, and
// interrupts it when that has been seen.
func watchSettings(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	f, api := newFixture(t), newFakeAPI(t)
	later := settings()
	later.Items[0].Value, later.Items[0].By, later.Items[0].At, later.Items[0].Modified = "false", "token:abc", testNow(), 9
	asked := 0
	api.answers["GET /v1/settings"] = func(*http.Request) answer {
		asked++
		if asked == 1 {
			return answer{status: 200, body: settings()}
		}
		if asked == 3 {
			f.signal <- os.Interrupt // the user has seen enough
		}
		return answer{status: 200, body: later, header: map[string]string{"X-Usher-Index": "813"}}
	}
	f.vars["USHER_ADDRESS"] = api.URL
	return f.do(append([]string{"setting", "watch"}, args...)...)
}

// An unset setting has no row; the history says who did it, as of that answer.
func TestSettingWatchTellsWhoUnset(t *testing.T) {
	f, api := newFixture(t), newFakeAPI(t)
	unset := settings()
	unset.Items[0].Value, unset.Items[0].Source = "false", admin.SourceDefault
	asked := 0
	api.answers["GET /v1/settings"] = func(*http.Request) answer {
		asked++
		if asked == 1 {
			return answer{status: 200, body: settings()}
		}
		if asked == 3 {
			f.signal <- os.Interrupt
		}
		return answer{status: 200, body: unset, header: map[string]string{"X-Usher-Index": "813"}}
	}
	api.on("GET /v1/settings/door.show_node/history", admin.List[admin.Audit]{Items: []admin.Audit{
		{Revision: 814, At: testNow(), Actor: "token:later", Action: "setting.set"},
		{Revision: 813, At: ago(time.Second), Actor: "token:nobody", Action: "setting.unset", Code: "denied"},
		{Revision: 813, At: ago(time.Second), Actor: "local:root", Action: "setting.unset"},
		{Revision: 700, At: ago(time.Hour), Actor: "token:abc", Action: "setting.set"},
	}})
	f.vars["USHER_ADDRESS"] = api.URL
	code, out, err := f.do("setting", "watch")
	if want := "03:04:04Z  door.show_node  true -> false by local:root (default)\n"; code != exitDone || out != want {
		t.Errorf("exit %d\ngot  %q\nwant %q\n%s", code, out, want, err)
	}
}

func TestSettingWatch(t *testing.T) {
	code, out, err := watchSettings(t, "door.show_node")
	if want := "03:04:05Z  door.show_node  true -> false by token:abc\n"; code != exitDone || out != want || err != "" {
		t.Errorf("exit %d\ngot  %q\nwant %q\n%s", code, out, want, err)
	}
	code, out, err = watchSettings(t, "--output", "json")
	var ch settingChange
	if jsonErr := json.Unmarshal([]byte(out), &ch); code != exitDone || jsonErr != nil || strings.Count(out, "\n") != 1 || ch.Old != "true" {
		t.Errorf("exit %d, %v: %s%s", code, jsonErr, out, err)
	}
	if code, _, err := watchSettings(t, "no.such"); code != exitFailed || !strings.Contains(err, "no.such") {
		t.Errorf("exit %d: %s", code, err)
	}
}
