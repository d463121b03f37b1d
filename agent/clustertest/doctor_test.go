package clustertest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/logs"
)

// verdicts are those of the checks that do not depend on the machine that tests run on.
func verdicts(lines []doctor.Line) map[string]doctor.Verdict {
	out := map[string]doctor.Verdict{}
	for _, l := range lines {
		switch l.Check {
		case "disk space", "disk latency", "file descriptors", "memory", "advertised address":
		default:
			out[l.Check] = l.Verdict
		}
	}
	return out
}

func examined(t *testing.T, n *Node) (lines []doctor.Line, took time.Duration) {
	t.Helper()
	began := time.Now()
	r, err := n.API().Doctor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Checks, time.Since(began)
}

func TestDoctorOfAWholeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		time.Sleep(15 * time.Second) // engines are probed, caches written
		well := map[string]doctor.Verdict{
			"data directory": doctor.OK, "identity": doctor.OK, "certificate authority": doctor.OK, "cluster port": doctor.OK, "door": doctor.OK,
			"names": doctor.OK, "clock": doctor.OK, "quorum": doctor.OK, "versions": doctor.OK, "engine builtin": doctor.OK,
			"reach n2": doctor.OK, "reached by n2": doctor.OK, "reach n3": doctor.OK, "reached by n3": doctor.OK,
		}
		lines, _ := examined(t, c.Node(1))
		if diff := cmp.Diff(well, verdicts(lines)); diff != "" {
			t.Fatalf("%s\n%+v", diff, lines)
		}

		c.Net.Isolate(c.Node(3).Host) // a black hole, which is slower to find than a dead process
		time.Sleep(10 * time.Second)
		lines, took := examined(t, c.Node(1))
		if took > 5*time.Second {
			t.Errorf("a dead peer makes it take %v", took)
		}
		well["reach n3"], well["reached by n3"], well["quorum"] = doctor.Failed, doctor.Skipped, doctor.Warning
		if diff := cmp.Diff(well, verdicts(lines)); diff != "" {
			t.Errorf("%s\n%+v", diff, lines)
		}
		lines, took = examined(t, c.Node(3))
		if v := verdicts(lines); v["quorum"] != doctor.Failed || v["reach n1"] != doctor.Failed || took > 5*time.Second {
			t.Errorf("from the other side, after %v: %+v", took, lines)
		}
	})
}

// From outside nothing changes, and what can be known is known.
func TestExamineFromOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		time.Sleep(15 * time.Second)
		n := c.Node(3)
		n.Stop()
		before := contents(t, n.Config.DataDir)
		f := agent.Examine(t.Context(), n.Config, agent.ExamineOptions{Network: n.Host})
		want := map[string]doctor.Verdict{
			"data directory": doctor.OK, "identity": doctor.OK, "certificate authority": doctor.OK, "cluster port": doctor.Skipped, "door": doctor.Skipped,
			"names": doctor.OK, "clock": doctor.Skipped, "quorum": doctor.Skipped, "versions": doctor.Skipped, "engines": doctor.Skipped,
			"reach n1": doctor.OK, "reached by n1": doctor.Skipped, "reach n2": doctor.OK, "reached by n2": doctor.Skipped,
		}
		if diff := cmp.Diff(want, verdicts(doctor.Judge(f))); diff != "" {
			t.Errorf("%s\n%+v", diff, doctor.Judge(f))
		}
		if diff := cmp.Diff(before, contents(t, n.Config.DataDir)); diff != "" {
			t.Errorf("the data directory has changed:\n%s", diff)
		}
		if m, err := agent.Remembered(n.Config); err != nil || len(m.Nodes) != 3 || m.Cluster != "test" {
			t.Errorf("remembered %+v (%v)", m, err)
		}

		// Damage: a cache that cannot be read stays where it is, keys that others may read are
		// a fault, an absent directory is not made.
		if err := os.WriteFile(filepath.Join(n.Config.DataDir, "state.cache"), []byte("no cache"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(n.Config.DataDir, "node.key"), 0o644); err != nil {
			t.Fatal(err)
		}
		before = contents(t, n.Config.DataDir)
		v := verdicts(doctor.Judge(agent.Examine(t.Context(), n.Config, agent.ExamineOptions{Network: n.Host})))
		if v["data directory"] != doctor.Failed || v["identity"] != doctor.Failed {
			t.Errorf("%v", v)
		}
		if diff := cmp.Diff(before, contents(t, n.Config.DataDir)); diff != "" {
			t.Errorf("the data directory has changed:\n%s", diff)
		}
		empty := n.Config
		empty.DataDir = t.TempDir()
		if err := os.Chmod(empty.DataDir, 0o755); err != nil {
			t.Fatal(err)
		}
		agent.Examine(t.Context(), empty, agent.ExamineOptions{Network: n.Host})
		if info, err := os.Stat(empty.DataDir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("the mode of an empty directory was changed: %v (%v)", info.Mode(), err)
		}
		absent := n.Config
		absent.DataDir = filepath.Join(n.Config.DataDir, "absent")
		if v := verdicts(doctor.Judge(agent.Examine(t.Context(), absent, agent.ExamineOptions{Network: n.Host}))); v["data directory"] != doctor.Failed {
			t.Errorf("%v", v)
		}
		if _, err := os.Stat(absent.DataDir); err == nil {
			t.Error("it made the directory")
		}
	})
}

// contents are the files below a directory with mode and content.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		info, _ := e.Info()
		out[path] = fmt.Sprintf("%v %x", info.Mode(), b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Nothing that is secret leaves an agent by its pages, even where it stands in the log.
func TestDebugPagesHoldNoSecrets(t *testing.T) {
	const secret = "planted-engine-secret-5150"
	synctest.Test(t, func(t *testing.T) {
		ring := new(logs.Ring)
		file := filepath.Join(t.TempDir(), "engine.secret")
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := New(t, 1, func(n *Node) {
			n.Ring, n.Config.Engine.SecretFile = ring, file
			n.Config.Engines = append(n.Config.Engines, "other=http://127.0.0.1:9/")
		})
		n := c.Node(1)
		join, err := n.API().CreateJoinToken(t.Context(), admin.JoinTokenSpec{})
		if err != nil {
			t.Fatal(err)
		}
		v := n.Agent.View()
		planted := map[string]string{
			"admin token": c.Token, "join token": join.Token, "engine secret": secret, "password of a URL": "hunter2hunter2", "old token in a URL": "http://ada:hunter2hunter2@127.0.0.1:9/?token=" + c.Token,
		}
		for _, name := range []string{"node.key", "seal.key"} {
			b, err := os.ReadFile(filepath.Join(n.Config.DataDir, name))
			if err != nil {
				t.Fatal(err)
			}
			planted[name] = strings.Split(string(b), "\n")[1]
			fmt.Fprintf(ring, "{\"message\":%q}\n", b)
		}
		rows := v.Secrets("")
		if len(rows) < 2 {
			t.Fatalf("the state has %d secrets", len(rows))
		}
		for _, row := range rows {
			planted["row "+row.Name] = string(row.Sealed)
			planted["row "+row.Name+" in hex"] = hex.EncodeToString(row.Sealed)
			planted["row "+row.Name+" in base64"] = base64.StdEncoding.EncodeToString(row.Sealed)
		}
		for name, what := range planted {
			if name == "password of a URL" {
				continue // bare, nobody could know it
			}
			fmt.Fprintf(ring, "{\"message\":\"here is %s\"}\n", what)
		}
		lines, _ := ring.Lines()
		if len(lines) < len(planted) {
			t.Fatal("the log was not planted")
		}
		for _, page := range []string{admin.DebugConfig, admin.DebugMachine, admin.DebugLogs, admin.DebugGoroutines, admin.DebugHeap} {
			got, err := n.API().Debug(t.Context(), page)
			if err != nil || len(got) == 0 {
				t.Fatalf("%s: %d bytes, %v", page, len(got), err)
			}
			for what, text := range planted {
				if strings.Contains(string(got), text) {
					t.Errorf("page %s holds the %s", page, what)
				}
			}
		}
		got, _ := n.API().Debug(context.WithoutCancel(t.Context()), admin.DebugLogs)
		if n := strings.Count(string(got), "(secret)"); n < len(planted)-1 || !strings.Contains(string(got), "agent started") {
			t.Errorf("%d of %d were taken out, or the log is not there:\n%s", n, len(planted), got)
		}
	})
}
