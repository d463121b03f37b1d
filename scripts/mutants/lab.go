package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// verdict is what became of a bug, or of a test without one.
type verdict string

const (
	caught   verdict = "caught"
	survived verdict = "SURVIVED"
	// What follows shows nothing.
	hung      verdict = "HUNG"           // the test did not end
	crashed   verdict = "CRASHED"        // it ended without a word of the test's
	noApply   verdict = "DOES NOT APPLY" // the code has changed
	noBuild   verdict = "DOES NOT BUILD"
	noTest    verdict = "NO SUCH TEST"
	unhealthy verdict = "FAILS ANYWAY" // without the bug, too
)

// result is what became of one bug.
type result struct {
	mutant
	verdict verdict
	took    time.Duration // of the test, with the bug
}

// lab tries bugs, one after the other, in a copy of the tree.
type lab struct {
	tree    string
	bin     string // for test binaries
	timeout time.Duration
	loud    io.Writer
	sound   map[string]verdict // of tests without a bug
	words   string             // of the last command that did not end well
}

// try shows what becomes of one bug. An error means that nothing can be said at all.
func (l *lab) try(ctx context.Context, m mutant) (result, error) {
	r := result{mutant: m}
	if err := apply(ctx, l.tree, m.file, "--check"); err != nil {
		r.verdict, l.words = noApply, err.Error()
		return r, ctx.Err()
	}
	var err error
	if r.verdict, err = l.healthy(ctx, m); r.verdict != "" || err != nil {
		return r, err
	}
	if err := apply(ctx, l.tree, m.file); err != nil {
		return r, err
	}
	r.verdict, r.took, err = l.broken(ctx, m)
	return r, errors.Join(err, apply(context.WithoutCancel(ctx), l.tree, m.file, "--reverse"))
}

// healthy looks whether the test passes without a bug, once for each test. It says why
// not, or "".
func (l *lab) healthy(ctx context.Context, m mutant) (verdict, error) {
	key := m.pkg + " " + m.test
	if v, ok := l.sound[key]; ok {
		return v, nil
	}
	binary := filepath.Join(l.bin, strings.ReplaceAll(m.pkg, "/", "-")+".test")
	if _, err := os.Stat(binary); err != nil {
		if err := l.build(ctx, m.pkg, binary); err != nil {
			return "", err // the tree itself does not build
		}
	}
	v, _, err := l.test(ctx, m, binary)
	switch v {
	case survived:
		v = ""
	case caught:
		v = unhealthy
	}
	if err == nil {
		l.sound[key] = v
	}
	return v, err
}

// broken runs the test with the bug.
func (l *lab) broken(ctx context.Context, m mutant) (verdict, time.Duration, error) {
	binary := filepath.Join(l.bin, "mutant.test")
	if err := l.build(ctx, m.pkg, binary); err != nil {
		l.words = err.Error()
		return noBuild, 0, ctx.Err()
	}
	return l.test(ctx, m, binary)
}

// build makes a test binary. Without paths in it, what was compiled for another copy of
// the tree can be used again.
func (l *lab) build(ctx context.Context, pkg, binary string) error {
	_, err := output(ctx, l.tree, "go", "test", "-c", "-trimpath", "-o", binary, "./"+pkg)
	return err
}

// test runs the test of a mutant.
func (l *lab) test(ctx context.Context, m mutant, binary string) (verdict, time.Duration, error) {
	limit, cancel := context.WithTimeout(ctx, l.timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(limit, binary, "-test.v", "-test.run", m.pattern(), "-test.timeout", l.timeout.String())
	cmd.Dir = filepath.Join(l.tree, filepath.FromSlash(m.pkg))
	cmd.WaitDelay = time.Second // it may leave processes behind that hold the pipe
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	fmt.Fprintf(l.loud, "-- %s: %s %s\n%s", m.name, m.pkg, m.test, out)
	l.words = string(out)
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", took, ctx.Err()
	case limit.Err() != nil:
		return hung, took, nil
	case err != nil && !errors.As(err, &exit):
		return "", took, fmt.Errorf("run %s: %w", m.test, err)
	}
	return judge(string(out), m.test, err != nil), took, nil
}

// judge reads what a test binary printed. A test that was skipped was not run.
func judge(out, test string, failed bool) verdict {
	switch {
	case strings.Contains(out, "panic: test timed out"):
		return hung
	case failed && strings.Contains(out, "--- FAIL: "+test):
		return caught
	case failed:
		return crashed
	case strings.Contains(out, "--- PASS: "+test):
		return survived
	}
	return noTest
}
