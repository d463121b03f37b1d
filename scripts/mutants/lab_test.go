package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, out string
		failed    bool
		want      verdict
	}{
		{"it passed", "=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\n", false, survived},
		{"it failed", "=== RUN   TestX\n    x_test.go:3: no\n--- FAIL: TestX (0.00s)\nFAIL\n", true, caught},
		{"it panicked", "--- FAIL: TestX (0.00s)\npanic: no [recovered]\n", true, caught},
		{"the process ended", "fatal error: all goroutines are asleep\n", true, crashed},
		{"another failed", "--- FAIL: TestY (0.00s)\n", true, crashed},
		{"it hung", "panic: test timed out after 1m0s\n--- FAIL: TestX (60.00s)\n", true, hung},
		{"it was not there", "testing: warning: no tests to run\nPASS\n", false, noTest},
		{"it was skipped", "=== RUN   TestX\n--- SKIP: TestX (0.00s)\nPASS\n", false, noTest},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(c.out, "TestX", c.failed); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// tiny is a module with one function, and what patches do to it.
const (
	tinyCode = "package tiny\n\nfunc Add(a, b int) int {\n\treturn a + b\n}\n"
	tinyTest = `package tiny

import "testing"

func TestAdd(t *testing.T) {
	if Add(2, 3) != 5 {
		t.Error("2 + 3")
	}
}

func TestWeak(t *testing.T) { Add(2, 3) }

func TestSick(t *testing.T) { t.Error("always") }
`
)

func tinyPatch(test, to string) string {
	return "Bug: b\nPromise: p\nTest: . " + test + "\n\ndiff --git a/tiny.go b/tiny.go\n--- a/tiny.go\n+++ b/tiny.go\n" +
		"@@ -1,5 +1,5 @@\n package tiny\n \n func Add(a, b int) int {\n-\treturn a + b\n+\t" + to + "\n }\n"
}

// TestTry tries bugs of each sort in a tree of its own.
func TestTry(t *testing.T) {
	for _, tool := range []string{"git", "go"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module tiny\n\ngo 1.26\n")
	write("tiny.go", tinyCode)
	write("tiny_test.go", tinyTest)
	write("tiny-caught.patch", tinyPatch("TestAdd", "return a - b"))
	write("tiny-hangs.patch", tinyPatch("TestAdd", "select {}"))
	write("tiny-nobuild.patch", tinyPatch("TestAdd", "return nothing"))
	write("tiny-sick.patch", tinyPatch("TestSick", "return a - b"))
	write("tiny-stale.patch", strings.Replace(tinyPatch("TestAdd", "return a - b"), "-\treturn a + b", "-\treturn b + a", 1))
	write("tiny-survives.patch", tinyPatch("TestWeak", "return a - b"))
	write("tiny-untested.patch", tinyPatch("TestGone", "return a - b"))
	if _, err := output(t.Context(), dir, "git", "init", "-q"); err != nil {
		t.Fatal(err)
	}
	all, err := readMutants(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out, loud bytes.Buffer
	if err := check(t.Context(), &out, dir, all); err == nil || !strings.Contains(out.String(), "tiny-stale") ||
		!strings.Contains(out.String(), "tiny-untested") || strings.Contains(out.String(), "tiny-caught") {
		t.Errorf("check says %v and\n%s", err, &out)
	}
	work := t.TempDir()
	l := &lab{tree: filepath.Join(work, "tree"), bin: filepath.Join(work, "bin"), timeout: 2 * time.Second, loud: &loud, sound: map[string]verdict{}}
	if err := copyTree(t.Context(), dir, l.tree); err != nil {
		t.Fatal(err)
	}
	want := map[string]verdict{
		"tiny-caught": caught, "tiny-hangs": hung, "tiny-nobuild": noBuild, "tiny-sick": unhealthy,
		"tiny-stale": noApply, "tiny-survives": survived, "tiny-untested": noTest,
	}
	var results []result
	for _, m := range all {
		r, err := l.try(t.Context(), m)
		if err != nil {
			t.Fatalf("%s: %v\n%s", m.name, err, &loud)
		}
		if r.verdict != want[m.name] {
			t.Errorf("%s: %s, want %s", m.name, r.verdict, want[m.name])
		}
		results = append(results, r)
		for root := range map[string]bool{dir: true, l.tree: true} {
			if code, err := os.ReadFile(filepath.Join(root, "tiny.go")); err != nil || string(code) != tinyCode {
				t.Fatalf("%s is left behind in %s", m.name, root)
			}
		}
	}
	out.Reset()
	if err := report(&out, options{}, results); !errors.Is(err, errFailed) || !strings.Contains(out.String(), "1 of 7") {
		t.Errorf("the report says %v and %q", err, &out)
	}
	if err := report(&out, options{}, results[:1]); err != nil {
		t.Errorf("all are caught: %v", err)
	}
}

// TestLeftAlone ends a run early.
func TestLeftAlone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&lab{tree: t.TempDir(), loud: &bytes.Buffer{}}).try(ctx, mutant{name: "m", file: "none.patch"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
