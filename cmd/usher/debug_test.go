package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/identity"
)

// unpacked are the files of a bundle.
func unpacked(t *testing.T, path string) map[string]string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle has mode %v", info.Mode())
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		b, readErr := io.ReadAll(r)
		if err = errors.Join(err, readErr); err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o600 || filepath.Dir(h.Name) != "usher-debug-bi-1-20300102-030405" {
			t.Errorf("%s has mode %o", h.Name, h.Mode)
		}
		out[filepath.Base(h.Name)] = string(b)
	}
}

func profileOf(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

// raw makes the fake API answer with plain bytes where it would with JSON.
type rawAPI struct {
	*fakeAPI
	pages map[string]string
}

func (a rawAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page, ok := a.pages[r.URL.Path]; ok {
		io.WriteString(w, page)
		return
	}
	a.fakeAPI.ServeHTTP(w, r)
}

// agentFixture is a fixture beside an agent that answers every page.
func agentFixture(t *testing.T) (*fixture, rawAPI) {
	t.Helper()
	f := newFixture(t)
	f.examiner = &fakeExaminer{}
	api := rawAPI{withAgent(t, f, examined(doctor.OK, doctor.Failed)), map[string]string{
		"/v1/debug/config": "data_dir: /var/lib/usher\n", "/v1/debug/machine": `{"os":"linux"}`,
		"/v1/debug/logs": `{"message":"hello"}` + "\n" + `{"component":"access","user":"ada"}` + "\n", "/v1/debug/goroutines": "goroutine 1\n", "/v1/debug/heap": "heap\n",
		"/v1/debug/cpu": profileOf("main.main"), "/metrics": "usher_up 1\n",
	}}
	api.on("GET /v1/cluster", admin.Cluster{ID: "7f3c", Name: "prod"})
	api.on("GET /v1/occurrences", admin.List[admin.Occurrence]{Items: []admin.Occurrence{*occurrence("failed")}})
	api.on("GET /v1/audit", admin.List[admin.Audit]{Items: []admin.Audit{{Revision: 9, Actor: "token:abc", Action: "setting.set"}}})
	api.Config.Handler = api
	return f, api
}

func TestDebugBundle(t *testing.T) {
	f, _ := agentFixture(t)
	path := filepath.Join(t.TempDir(), "b.tar.gz")
	code, out, err := f.do("debug", "--output-file", path, "--seconds", "1")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, err)
	}
	got := unpacked(t, path)
	for _, name := range []string{
		"MANIFEST.txt", "version.json", "doctor.txt", "doctor.json", "config.yaml", "machine.json", "status.json", "cluster.json", "nodes.json",
		"settings.json", "tasks.json", "occurrences.json", "audit.json", "metrics.txt", "logs.jsonl", "goroutines.txt", "heap.txt", "cpu.pprof",
	} {
		if got[name] == "" {
			t.Errorf("there is no %s", name)
		}
		if name != "MANIFEST.txt" && (!strings.Contains(out, name) || !strings.Contains(got["MANIFEST.txt"], name)) {
			t.Errorf("nobody is told of %s", name)
		}
	}
	if len(got) != 18 {
		t.Errorf("%d parts", len(got))
	}
	if got["logs.jsonl"] != `{"message":"hello"}`+"\n" {
		t.Errorf("the log holds users' requests: %s", got["logs.jsonl"])
	}
	if !strings.Contains(out, "left out:") || strings.Contains(out, "missing:") || !strings.Contains(err, "gathering metrics.txt\n") {
		t.Errorf("%s%s", out, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".usher*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// A part that fails is named, and does not cost the others.
func TestDebugGoesOnWithoutAPart(t *testing.T) {
	f, api := agentFixture(t)
	delete(api.pages, "/metrics")
	api.pages["/v1/debug/cpu"] = "no profile"
	api.on("GET /v1/settings", refused(503, admin.CodeNoQuorum, "no quorum", ""))
	path := filepath.Join(t.TempDir(), "b.tar.gz")
	code, out, err := f.do("debug", "--output-file", path, "--seconds", "1", "--output", "json")
	var a debugAnswer
	if e := json.Unmarshal([]byte(out), &a); e != nil || code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, err)
	}
	var missing []string
	for _, m := range a.Missing {
		missing = append(missing, m.Name)
	}
	if want := []string{"settings.json", "metrics.txt", "cpu.pprof"}; !slices.Equal(missing, want) {
		t.Errorf("missing %v, want %v", missing, want)
	}
	if got := unpacked(t, path); got["status.json"] == "" || !strings.Contains(got["MANIFEST.txt"], "no quorum") {
		t.Errorf("%v", got["MANIFEST.txt"])
	}
}

func TestDebugReplacesNothing(t *testing.T) {
	f, api := agentFixture(t)
	path := filepath.Join(t.TempDir(), "b.tar.gz")
	if err := os.WriteFile(path, []byte("dear"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := f.do("debug", "--output-file", path, "--seconds", "1"); code != exitFailed || api.requests() != "" {
		t.Errorf("exit %d", code)
	}
	if b, _ := os.ReadFile(path); string(b) != "dear" {
		t.Errorf("the file holds %q", b)
	}
	if code, _, err := f.do("debug", "--output-file", path, "--seconds", "1", "--force"); code != 0 {
		t.Errorf("exit %d: %s", code, err)
	}
	unpacked(t, path) // its mode, too
}

// Whoever may not look into the agent gets no bundle, and no half of one.
func TestDebugIsRefused(t *testing.T) {
	f, api := agentFixture(t)
	delete(api.pages, "/v1/debug/config")
	api.on("GET /v1/debug/config", refused(403, admin.CodeDenied, "this needs the role admin", ""))
	dir := t.TempDir()
	code, _, err := f.do("debug", "--output-file", filepath.Join(dir, "b.tar.gz"))
	if code != exitDenied {
		t.Errorf("exit %d: %s", code, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// A signal ends it, and nothing is left behind.
func TestDebugInterrupted(t *testing.T) {
	f, api := agentFixture(t)
	block := make(chan struct{})
	api.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/debug/cpu" {
			f.signal <- os.Interrupt
			<-block
		}
		api.ServeHTTP(w, r)
	})
	defer close(block)
	dir := t.TempDir()
	code, _, err := f.do("debug", "--output-file", filepath.Join(dir, "b.tar.gz"), "--seconds", "1")
	if code != exitFailed || !strings.Contains(err, "interrupted") {
		t.Errorf("exit %d: %s", code, err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}

// Secrets are planted everywhere, and none of them comes out.
func TestDebugBundleHoldsNoSecrets(t *testing.T) {
	planted := map[string]string{}
	random := bytes.NewReader(bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz"), 100))
	token, err1 := identity.NewAPIToken(random)
	join, err2 := identity.NewJoinToken(random, [32]byte{1})
	recovery, err3 := identity.NewRecoveryKey(random)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	planted["API token"], planted["join token"], planted["recovery key"] = token.Reveal(), join.Reveal(), recovery.Reveal()
	planted["engine secret"] = "planted-engine-secret"
	planted["password"] = "planted-password"
	key := "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH\n-----END PRIVATE KEY-----\n"
	planted["key"] = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEH"
	sealed := "\x01\x02sealed-row\xff\xfe-of-the-state"
	planted["sealed row"], planted["sealed row in hex"] = sealed, hex.EncodeToString([]byte(sealed))
	planted["sealed row in Base64"] = base64.StdEncoding.EncodeToString([]byte(sealed))

	dir := t.TempDir()
	secret := filepath.Join(dir, "engine.secret")
	for path, text := range map[string]string{
		secret: planted["engine secret"] + "\n", filepath.Join(dir, "node.key"): key, filepath.Join(dir, "seal.key"): sealed, filepath.Join(dir, "admin.token"): token.Reveal(),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := ""
	for _, text := range planted {
		all += " " + text
	}
	all += " http://ada:" + planted["password"] + "@engine/ " + `"password":"` + planted["password"] + `" `
	all = strings.ReplaceAll(all, " "+planted["password"]+" ", " ") // bare, nobody could know it
	test := func(t *testing.T, f *fixture) {
		f.vars["USHER_DATA_DIR"], f.vars["USHER_ENGINE_SECRET_FILE"], f.vars["USHER_TOKEN"] = dir, secret, token.Reveal()
		path := filepath.Join(t.TempDir(), "b.tar.gz")
		code, out, err := f.do("debug", "--output-file", path, "--seconds", "1")
		if code != 0 {
			t.Fatalf("exit %d: %s", code, err)
		}
		parts := unpacked(t, path)
		parts["standard output"], parts["standard error"] = out, err
		found := false
		for name, text := range parts {
			if plain, err := inflated([]byte(text)); err == nil { // a profile
				text = string(plain)
			}
			found = found || strings.Contains(text, "(secret)")
			for what, s := range planted {
				if strings.Contains(text, s) {
					t.Errorf("%s holds the %s", name, what)
				}
			}
		}
		if !found {
			t.Error("nothing was taken out: was anything planted?")
		}
	}
	t.Run("by an agent", func(t *testing.T) {
		f, api := agentFixture(t)
		for path := range api.pages {
			api.pages[path] += all
		}
		api.pages["/v1/debug/cpu"] = profileOf("main.main " + all)
		d := examined(doctor.Failed)
		d.Checks[0].Seen, d.Checks[0].Next = all, all
		api.on("POST /v1/doctor", d)
		s := statusOK()
		s.Warnings = []string{all}
		api.on("GET /v1/status", s)
		n := node1()
		n.StateReason, n.Engines[1].Error = all, all
		api.on("GET /v1/nodes", admin.List[admin.Node]{Items: []admin.Node{n}})
		api.on("GET /v1/settings", refused(500, admin.CodeInternal, all, all)) // an error's text is a part, too
		k := task1()
		k.Reason = all
		api.on("GET /v1/tasks", admin.List[admin.Task]{Items: []admin.Task{k}})
		api.on("GET /v1/audit", admin.List[admin.Audit]{Items: []admin.Audit{{Detail: all, Target: all}}})
		f.examiner = &fakeExaminer{journal: all + "\n"}
		test(t, f)
	})
	t.Run("without an agent", func(t *testing.T) {
		f := newFixture(t)
		f.vars["USHER_API"] = "127.0.0.1:1"
		f.examiner = &fakeExaminer{journal: all + "\n", facts: doctor.Facts{
			Now: time.Now(), Offline: "no agent answers", Identity: &doctor.Identity{Err: errors.New(all)},
		}}
		test(t, f)
	})
}
