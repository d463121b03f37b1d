package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
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
	tests := commandLines(imports)
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
	elsewhere := map[string]bool{"setting watch": true, "demo env": true, "demo keep": true, // see their own tests
		"snapshot save": true, "snapshot inspect": true, "snapshot restore": true}
	for _, c := range f.commands() {
		for _, sub := range c.Subcommands {
			if name := c.Name + " " + sub.Name; !covered[name] && !elsewhere[name] {
				t.Errorf("usher %s has no golden file", name)
			}
		}
	}
}

// commandLine is a line that a healthy cluster answers.
type commandLine struct {
	name string
	args []string
}

func commandLines(imports string) []commandLine {
	return []commandLine{
		{"status", []string{"status"}},
		{"node-list", []string{"node", "list"}},
		{"node-show", []string{"node", "show", "bi-1"}},
		{"node-set", []string{"node", "set", "bi-1", "--weight", "50", "--tags=a,b", "--public-name", ""}},
		{"node-drain", []string{"node", "drain", "bi-1", "--deadline", "30m", "--reason", "update"}},
		{"node-drain-detach", []string{"node", "drain", "--detach", "bi-1"}},
		{"node-drain-self", []string{"node", "drain", "--self", "--then-standby"}},
		{"node-activate", []string{"node", "activate", "bi-1"}},
		{"node-activate-self", []string{"node", "activate", "--self"}},
		{"node-standby", []string{"node", "standby", "bi-1", "--reason", "spare"}},
		{"node-remove", []string{"node", "remove", "bi-1", "--yes", "--force"}},
		{"central-show", []string{"central", "show"}},
		{"central-move", []string{"central", "move", "bi-3"}},
		{"cluster-rename", []string{"cluster", "rename", "new"}},
		{"session-list", []string{"session", "list", "--node", "bi-1", "--document", "sales"}},
		{"session-show", []string{"session", "show", sid1}},
		{"session-show-page", []string{"session", "show", "E8DE93A0C2168E61"}},
		{"session-close", []string{"session", "close", sid1}},
		{"session-close-page", []string{"session", "close", "e8de93a0"}},
		{"document-list", []string{"document", "list"}},
		{"document-show", []string{"document", "show", "sales"}},
		{"setting-list", []string{"setting", "list"}},
		{"setting-list-changed", []string{"setting", "list", "--changed"}},
		{"setting-get", []string{"setting", "get", "door.show_node"}},
		{"setting-set", []string{"setting", "set", "door.show_node", "true"}},
		{"setting-unset", []string{"setting", "unset", "door.trusted_networks"}},
		{"setting-export", []string{"setting", "export"}},
		{"setting-import", []string{"setting", "import", imports}},
		{"setting-import-none", []string{"setting", "import", "testdata/settings-none.yaml"}},
		{"setting-import-reset", []string{"setting", "import", "testdata/settings-none.yaml", "--reset", "--yes"}},
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
}

// errorCase is a line and what the API answers otherwise than a healthy cluster's.
type errorCase struct {
	name string
	args []string
	fill func(*fakeAPI)
}

func TestErrorsGolden(t *testing.T) {
	for _, tt := range append(refusals(), mistakes()...) {
		t.Run(tt.name, func(t *testing.T) {
			f, api := newFixture(t), newFakeAPI(t)
			api.fill()
			tt.fill(api)
			golden(t, filepath.Join("errors", tt.name+".txt"), against(t, f, api, tt.args...))
		})
	}
}

// refusals are answers that any command may get.
func refusals() []errorCase {
	return []errorCase{
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
		{"refused-by-the-state", []string{"node", "remove", "bi-1", "--yes"}, func(a *fakeAPI) {
			a.on("DELETE /v1/nodes/"+string(id1), refused(409, "state", "only 1 of 2 voters would be alive", ""))
		}},
		{"remove-without-quorum", []string{"node", "remove", "bi-1", "--yes"}, func(a *fakeAPI) {
			a.on("DELETE /v1/nodes/"+string(id1), refused(503, admin.CodeNoQuorum, "no quorum: 1 of 3 servers reachable", "bring a majority back"))
		}},
		{"remove-without-quorum-forced", []string{"node", "remove", "bi-1", "--yes", "--force"}, func(a *fakeAPI) {
			a.on("DELETE /v1/nodes/"+string(id1), refused(503, admin.CodeNoQuorum, "no quorum: 1 of 3 servers reachable", "bring a majority back"))
		}},
		{"remove-forced-not-asked", []string{"node", "remove", "bi-1", "--force"}, func(a *fakeAPI) {
			dead := node1()
			dead.Status = peer.StatusFailed
			a.on("GET /v1/nodes/bi-1", dead)
		}},
		{"node-unreachable", []string{"session", "close", sid1}, func(a *fakeAPI) {
			a.on("DELETE /v1/sessions/"+sid1, refused(502, admin.CodeUnreachable, "bi-2 did not answer", ""))
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
	}
}

// mistakes are what draining, sessions and imports find wrong themselves.
func mistakes() []errorCase {
	return []errorCase{
		{"drain-undone", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			undone := node1()
			undone.Modified = drainedAt + 1
			a.on("GET /v1/nodes/"+string(id1), undone)
		}},
		{"drain-lost", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			lost := drained(nil)
			lost.Status = peer.StatusFailed
			a.on("GET /v1/nodes/"+string(id1), drained(nil), lost)
		}},
		{"drain-behind", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			a.on("GET /v1/nodes/"+string(id1), node1()) // as it was before
		}},
		{"drain-unheard", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			a.on("GET /v1/nodes/"+string(id1), drained(&admin.Count{Revision: drainedAt - 1}))
		}},
		{"drain-silent", []string{"node", "drain", "bi-1"}, func(a *fakeAPI) {
			a.on("GET /v1/nodes/"+string(id1), drained(nil))
		}},
		{"session-ambiguous", []string{"session", "show", "e8de93a0"}, func(a *fakeAPI) {
			l := sessions()
			l.Items = append(l.Items, l.Items[0], l.Items[0]) // one of them twice, as when it moves
			l.Items[1].ID = sid2
			a.on("GET /v1/sessions", l)
		}},
		{"session-absent", []string{"session", "close", "0123456789abcdef"}, func(a *fakeAPI) {
			l := sessions()
			l.Missing = nil
			a.on("GET /v1/sessions", l)
		}},
		{"session-on-a-silent-node", []string{"session", "close", "0123456789abcdef"}, func(*fakeAPI) {}},
		{"no-such-engine", []string{"session", "list", "--engine", "nope"}, func(a *fakeAPI) {
			a.on("GET /v1/sessions", admin.List[admin.Session]{})
		}},
		{"reset-all-not-asked", []string{"setting", "import", "testdata/settings-none.yaml", "--reset"}, func(*fakeAPI) {}},
		{"import-empty", []string{"setting", "import", "testdata/settings-empty.yaml", "--reset", "--yes"}, func(*fakeAPI) {}},
		{"import-null", []string{"setting", "import", "testdata/settings-null.yaml"}, func(*fakeAPI) {}},
		{"import-twice", []string{"setting", "import", "testdata/settings-twice.yaml"}, func(*fakeAPI) {}},
		{"reset-not-asked", []string{"setting", "import", "testdata/settings.json", "--reset"}, func(*fakeAPI) {}},
		{"import-shape", []string{"setting", "import", "testdata/settings-bad.yaml"}, func(*fakeAPI) {}},
		{"import-absent", []string{"setting", "import", "testdata/absent.yaml"}, func(*fakeAPI) {}},
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
