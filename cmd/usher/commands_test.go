package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

// against runs a command line against the API and returns its transcript.
func against(t *testing.T, f *fixture, api *fakeAPI, args ...string) string {
	t.Helper()
	f.vars["USHER_ADDRESS"] = api.URL
	code, out, err := f.do(args...)
	return strings.ReplaceAll(transcript(args, code, out, err, api.requests()), api.URL, "http://API")
}

// Every command that talks to the API, as a person sees it and as a program does.
func TestCommandsGolden(t *testing.T) {
	imports := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(imports, []byte("settings:\n  log.level: debug\n  engine.max_sessions: 12\n  door.show_node: yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
	}{
		{"status", []string{"status"}},
		{"node-list", []string{"node", "list"}},
		{"node-show", []string{"node", "show", "bi-1"}},
		{"node-set", []string{"node", "set", "bi-1", "--weight", "50", "--tags=a,b", "--public-name", ""}},
		{"node-drain", []string{"node", "drain", "bi-1", "--deadline", "30m", "--reason", "update"}},
		{"node-drain-detach", []string{"node", "drain", "--detach", "bi-1"}},
		{"node-activate", []string{"node", "activate", "bi-1"}},
		{"node-standby", []string{"node", "standby", "bi-1", "--reason", "spare"}},
		{"node-remove", []string{"node", "remove", "bi-1", "--yes", "--force"}},
		{"central-show", []string{"central", "show"}},
		{"central-move", []string{"central", "move", "bi-3"}},
		{"cluster-rename", []string{"cluster", "rename", "new"}},
		{"session-list", []string{"session", "list", "--node", "bi-1", "--document", "sales"}},
		{"session-show", []string{"session", "show", "k3x"}},
		{"session-close", []string{"session", "close", "k3x"}},
		{"document-list", []string{"document", "list"}},
		{"document-show", []string{"document", "show", "sales"}},
		{"setting-list", []string{"setting", "list"}},
		{"setting-list-changed", []string{"setting", "list", "--changed"}},
		{"setting-get", []string{"setting", "get", "door.show_node"}},
		{"setting-set", []string{"setting", "set", "door.show_node", "true"}},
		{"setting-unset", []string{"setting", "unset", "door.trusted_networks"}},
		{"setting-export", []string{"setting", "export"}},
		{"setting-import", []string{"setting", "import", imports}},
		{"setting-history", []string{"setting", "history", "--limit", "2"}},
		{"setting-history-key", []string{"setting", "history", "log.level"}},
		{"task-add", []string{"task", "add", "nightly", "--document", "sales", "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--attempt-timeout", "10m"}},
		{"task-replace", []string{"task", "add", "nightly", "--document", "sales", "--every", "90s", "--start", "2030-01-01T00:00:00Z", "--replace"}},
		{"task-list", []string{"task", "list"}},
		{"task-show", []string{"task", "show", "nightly"}},
		{"task-run", []string{"task", "run", "nightly"}},
		{"task-run-wait", []string{"task", "run", "--wait", "nightly"}},
		{"task-pause", []string{"task", "pause", "nightly", "--reason", "month end"}},
		{"task-resume", []string{"task", "resume", "nightly"}},
		{"task-remove", []string{"task", "remove", "nightly", "--yes"}},
		{"task-history", []string{"task", "history", "nightly"}},
		{"join-token-create", []string{"join-token", "create", "--uses", "2", "--ttl", "1h", "--replace", "bi-2"}},
		{"join-token-quiet", []string{"join-token", "create", "--quiet"}},
		{"join-token-list", []string{"join-token", "list"}},
		{"join-token-revoke", []string{"join-token", "revoke", "jjjjjjjj"}},
		{"token-create", []string{"token", "create", "ci", "--role", "operator"}},
		{"token-list", []string{"token", "list"}},
		{"token-revoke", []string{"token", "revoke", "tttttttt"}},
	}
	covered := map[string]bool{}
	for _, tt := range tests {
		covered[strings.Join(tt.args[:min(2, len(tt.args))], " ")] = true
		t.Run(tt.name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.fill()
			people := against(t, f, api, tt.args...)
			api.fill() // begin anew: some answers come in an order
			programs := against(t, f, api, append(tt.args, "--output", "json")...)
			if out := f.out.String(); !json.Valid([]byte(out)) {
				t.Errorf("--output json printed no JSON:\n%s", out)
			}
			golden(t, filepath.Join("commands", tt.name+".txt"), strings.ReplaceAll(people+"\n"+programs, imports, "settings.yaml"))
		})
	}
	// A command that nobody tests cannot slip in.
	f := newFixture(t)
	elsewhere := map[string]bool{"setting watch": true, "demo env": true} // see their own tests
	for _, c := range f.commands() {
		for _, sub := range c.Subcommands {
			if name := c.Name + " " + sub.Name; !covered[name] && !elsewhere[name] {
				t.Errorf("usher %s has no golden file", name)
			}
		}
	}
}

func TestErrorsGolden(t *testing.T) {
	tests := []struct {
		name string
		args []string
		fill func(*fakeAPI)
	}{
		{"no-quorum", []string{"setting", "set", "door.show_node", "true"}, func(a *fakeAPI) {
			a.on("PUT /v1/settings/door.show_node", refused(503, admin.CodeNoQuorum, "no quorum: 1 of 3 servers reachable", ""))
		}},
		{"unauthenticated", []string{"status"}, func(a *fakeAPI) {
			a.on("GET /v1/status", refused(401, admin.CodeUnauthenticated, "a token is needed", ""))
		}},
		{"denied", []string{"token", "list"}, func(a *fakeAPI) {
			a.on("GET /v1/tokens", refused(403, admin.CodeDenied, "viewer may not list tokens", "ask an admin"))
		}},
		{"not-found", []string{"node", "show", "bi-9"}, func(*fakeAPI) {}},
		{"task-exists", []string{"task", "add", "nightly", "--document", "sales", "--every", "1h"}, func(a *fakeAPI) {
			a.on("PUT /v1/tasks/nightly", refused(412, admin.CodePrecondition, "it exists", ""))
		}},
		{"task-failed", []string{"task", "run", "nightly", "--wait"}, func(a *fakeAPI) {
			a.on("GET /v1/occurrences/nightly@2030-01-02T02:30:00Z", *occurrence("failed"))
		}},
		{"drain-undone", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			a.on("GET /v1/nodes/"+string(id1), node1())
		}},
		{"node-unreachable", []string{"session", "close", "k3x"}, func(a *fakeAPI) {
			a.on("DELETE /v1/sessions/k3x", refused(502, admin.CodeUnreachable, "bi-2 did not answer", ""))
		}},
		{"unknown-outcome", []string{"cluster", "rename", "new"}, func(a *fakeAPI) {
			a.on("POST /v1/cluster/rename", refused(504, admin.CodeUnknownOutcome, "the leader was lost", ""))
		}},
		{"something-else", []string{"status"}, func(a *fakeAPI) {
			a.on("GET /v1/status", answer{status: 502, body: "nginx"})
		}},
		{"remove-not-asked", []string{"node", "remove", "bi-1"}, func(*fakeAPI) {}},
		{"task-remove-not-asked", []string{"task", "remove", "nightly"}, func(*fakeAPI) {}},
		{"leave-not-asked", []string{"leave"}, func(*fakeAPI) {}},
		{"reset-not-asked", []string{"setting", "import", "testdata/settings.json", "--reset"}, func(*fakeAPI) {}},
		{"import-shape", []string{"setting", "import", "testdata/settings-bad.yaml"}, func(*fakeAPI) {}},
		{"import-absent", []string{"setting", "import", "testdata/absent.yaml"}, func(*fakeAPI) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.fill()
			tt.fill(api)
			golden(t, filepath.Join("errors", tt.name+".txt"), against(t, f, api, tt.args...))
		})
	}
}

// Without a quorum the answers say so first.
func TestStaleGolden(t *testing.T) {
	for name, args := range map[string][]string{"status": {"status"}, "node-list": {"node", "list"}, "session-list": {"session", "list"}} {
		t.Run(name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.on("GET /v1/status", stale(statusAlone()))
			api.on("GET /v1/nodes", stale(nodes()))
			api.on("GET /v1/sessions", stale(sessions()))
			people := against(t, f, api, args...)
			if !strings.Contains(people, "no quorum: 1 of 3 servers reachable; state as of index 812, 42 s old\n") {
				t.Error("the truth is missing")
			}
			programs := against(t, f, api, append(args, "--output", "json")...)
			golden(t, filepath.Join("stale", name+".txt"), people+"\n"+programs)
		})
	}
}

func TestUsageGolden(t *testing.T) {
	lines := []string{
		"", "help", "--help", "help node drain", "node drain --help", "node --help", "setting set -h", "demo --help", "agent --help",
		"stauts", "node lst", "node", "node frobnicate", "status extra", "node show", "task add", "setting set log.level", "join",
		"status --adress x", "node drain n --dead-line 3s", "status --qqqqqqqqqq", "--name x init", "status --output xml", "status --output",
		"status --timeout soon", "status --timeout 0s", "node set bi-1", "node set bi-1 --weight heavy", "task add x --document d",
		"task add x --every 1h", "task add x --document d --every 1h --cron '* * * * *'", "task add x --document d --every 1h --start soon",
		"completion tcsh", "engine", "engine --documents /absent/dir", "demo --nodes 10", "demo extra", "demo --port-base 80",
		"status --address ftp://x", "node drain n --deadline -3s", "version --output json", "version", "--version",
	}
	var b strings.Builder
	for _, line := range lines {
		f := newFixture(t)
		f.vars["USHER_ADDRESS"] = "http://127.0.0.1:1"
		args := strings.Fields(strings.ReplaceAll(line, "'* * * * *'", "*****"))
		code, out, err := f.do(args...)
		b.WriteString(transcript(args, code, out, err, "") + "\n")
		if code == exitUsage && !strings.Contains(err, "next: ") {
			t.Errorf("usher %s: a usage error without the next step:\n%s", line, err)
		}
	}
	golden(t, "usage.txt", b.String())
}

// Flags may stand anywhere behind their command, those of the program anywhere.
func TestArrange(t *testing.T) {
	f := newFixture(t)
	tests := map[string]string{
		"status --output json":                    "usher --output=json status",
		"--output=json status":                    "usher --output=json status",
		"node show bi-1 --output json":            "usher --output=json node show -- bi-1",
		"node remove bi-1 --yes --force=false":    "usher node remove --yes --force=false -- bi-1",
		"node remove -- --yes":                    "usher node remove -- --yes",
		"setting import - --reset":                "usher setting import --reset -- -",
		"status --token-file -":                   "usher --token-file=- status",
		"node show help":                          "usher node show -- help",
		"agent -engine a=b --engine http://x/?,":  "usher agent --engine=a=b --engine=http://x/?,",
		"demo env --port-base 1 --timeout 3s":     "usher --timeout=3s demo env --port-base=1",
		"setting set k --timeout 3s v":            "usher --timeout=3s setting set -- k v",
		"task add t --document -x --every 1h -- ": "usher task add --document=-x --every=1h -- t",
	}
	for in, want := range tests {
		l, err := arrange(f.globals(), f.commands(), strings.Fields(in))
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got := strings.Join(l.argv(), " "); got != want {
			t.Errorf("%s\n got  %s\n want %s", in, got, want)
		}
	}
}

func FuzzArrange(f *testing.F) {
	f.Add("node remove bi-1 --yes")
	f.Add("--output json setting set a b -- c")
	f.Add("agent --engine= -- --")
	p := &program{stdout: io.Discard, stderr: io.Discard}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := arrange(p.globals(), p.commands(), strings.Split(s, " "))
		if err != nil {
			if e := explain(err); e.code != exitUsage || e.next == "" {
				t.Errorf("%q: exit %d, next %q", s, e.code, e.next)
			}
			return
		}
		again, err := arrange(p.globals(), p.commands(), l.argv()[1:])
		if err != nil || strings.Join(again.argv(), "\x00") != strings.Join(l.argv(), "\x00") {
			t.Errorf("%q: arranged twice it is another line: %q, %q, %v", s, l.argv(), again.argv(), err)
		}
	})
}

func TestManualIsFresh(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "cli.md")
	_, got, _ := newFixture(t).do("docs")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		t.Errorf("docs/cli.md is out of date: go test ./cmd/usher -run TestManualIsFresh -update (%v)", err)
	}
}

func TestCompletionGolden(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		code, out, err := newFixture(t).do("completion", shell)
		if code != 0 {
			t.Fatal(err)
		}
		golden(t, filepath.Join("completion", shell+".txt"), out)
	}
}

// The script is not only what it was: bash completes with it.
func TestBashCompletes(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash here")
	}
	_, script, _ := newFixture(t).do("completion", "bash")
	tests := map[string]string{
		"usher no":                     "node",
		"usher node dr":                "drain",
		"usher node drain --de":        "--deadline --detach",
		"usher --output json node st":  "standby",
		"usher demo e":                 "env",
		"usher task add x --attempt":   "--attempts --attempt-timeout",
		"usher join-token create --qu": "--quiet",
		"usher status --to":            "--token-file",
	}
	for line, want := range tests {
		words := strings.Fields(line)
		cmd := exec.Command(bash, "--norc", "-c", script+"\nCOMP_WORDS=("+line+")\nCOMP_CWORD="+strconv.Itoa(len(words)-1)+"\n_usher\necho \"${COMPREPLY[*]}\"\n")
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", line, got, want, err)
		}
	}
}

// Every command and flag says what it does; the exit codes are in the help.
func TestHelpIsComplete(t *testing.T) {
	f := newFixture(t)
	var walk func(path, all []*cli.Command)
	walk = func(path, all []*cli.Command) {
		for _, c := range all {
			here := append(path[:len(path):len(path)], c)
			if c.Usage == "" || strings.HasSuffix(c.Usage, ".") {
				t.Errorf("%s: usage %q", commandName(here), c.Usage)
			}
			for _, fl := range c.Flags {
				if _, help := flagHelp(fl); help == "" {
					t.Errorf("%s --%s says nothing", commandName(here), fl.Names()[0])
				}
			}
			walk(here, c.Subcommands)
		}
	}
	walk(nil, f.commands())
	_, out, _ := f.do("--help")
	for _, c := range exitCodes() {
		if !strings.Contains(out, c[1]) {
			t.Errorf("--help does not tell exit code %s", c[0])
		}
	}
}

func TestColourOnlyOnATerminal(t *testing.T) {
	tests := []struct {
		name     string
		terminal bool
		vars     map[string]string
		want     bool
	}{
		{"terminal", true, nil, true},
		{"pipe", false, nil, false},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "1"}, false},
		{"dumb", true, map[string]string{"TERM": "dumb"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.fill()
			f.terminal.out = tt.terminal
			for k, v := range tt.vars {
				f.vars[k] = v
			}
			against(t, f, api, "node", "list")
			if got := strings.Contains(f.out.String(), "\x1b["); got != tt.want {
				t.Errorf("coloured %v, want %v", got, tt.want)
			}
		})
	}
}

func TestConfirm(t *testing.T) {
	for in, want := range map[string]int{"y\n": exitDone, "yes\n": exitDone, "n\n": exitFailed, "\n": exitFailed, "": exitFailed} {
		f, api := newFixture(t), newFakeAPI(t)
		api.fill()
		f.terminal.in, f.stdin, f.vars["USHER_ADDRESS"] = true, strings.NewReader(in), api.URL
		code, _, err := f.do("node", "remove", "bi-1")
		if removed := strings.Contains(api.requests(), http.MethodDelete); code != want || removed != (want == exitDone) {
			t.Errorf("answer %q: exit %d, removed %v\n%s", in, code, removed, err)
		}
	}
}
