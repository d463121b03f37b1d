package probe

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/doctor"
)

func TestSyncLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	m := &Machine{Dir: dir}
	got := m.Sync(t.Context())
	if got.Err != nil || got.Writes != syncWrites || got.Median <= 0 || got.Worst < got.Median {
		t.Errorf("%+v", got)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
	m.Dir = filepath.Join(dir, "absent")
	if got := m.Sync(t.Context()); !errors.Is(got.Err, os.ErrNotExist) {
		t.Errorf("of no directory: %+v", got)
	}
}

func TestSpaceAndMemory(t *testing.T) {
	m := &Machine{Dir: t.TempDir()}
	if s := m.Space(t.Context()); s.Err != nil || s.Total == 0 || s.Free > s.Total {
		t.Errorf("%+v", s)
	}
	if v := Memory(t.Context(), os.Getpid()); v.Err != nil || v.Total == 0 || v.Own == 0 {
		t.Errorf("%+v", v)
	}
}

// A file system that hangs holds up nobody for longer than they want, and is not asked
// again while it hangs.
func TestBoundedLeavesAHangBehind(t *testing.T) {
	var busy atomic.Bool
	release := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := bounded(ctx, &busy, func() (int, error) { <-release; return 1, nil })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a hang: %v", err)
	}
	if _, err := bounded(t.Context(), &busy, func() (int, error) { t.Error("asked again"); return 0, nil }); !errors.Is(err, errHangs) {
		t.Errorf("while it hangs: %v", err)
	}
	close(release)
	for busy.Load() { // until the hang is over
		time.Sleep(time.Millisecond)
	}
	if v, err := bounded(t.Context(), &busy, func() (int, error) { return 2, nil }); v != 2 || err != nil {
		t.Errorf("afterwards: %d, %v", v, err)
	}
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	write := func(name string, mode os.FileMode) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte("x"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("node.key", 0o600)
	write("raft/wal/1", 0o644) // the directory keeps others out
	write("node.crt", 0o644)
	m := &Machine{Dir: dir}
	if d := m.Directory(t.Context()); d.Err != nil || len(d.Loose)+len(d.Foreign) > 0 || d.Holder != 0 {
		t.Fatalf("%+v", d)
	}
	if _, has := ownerOf(stat(t, dir)); !has {
		t.Skip("modes mean nothing on this system")
	}
	key := write("seal.key", 0o640)
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	d := m.Directory(t.Context())
	var loose []string
	for _, f := range d.Loose {
		loose = append(loose, f.Path)
	}
	if diff := cmp.Diff([]string{dir, key}, loose); diff != "" {
		t.Error(diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte("1234567890\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := m.Directory(t.Context()); d.Holder != 0 {
		t.Errorf("process %d holds it, and there is none", d.Holder)
	}
	if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte(itoa(os.Getppid())+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if d := m.Directory(t.Context()); d.Holder != os.Getppid() {
		t.Errorf("process %d holds it, want %d", d.Holder, os.Getppid())
	}
	file := &Machine{Dir: key}
	if d := file.Directory(t.Context()); d.Err == nil {
		t.Error("a file is a directory")
	}
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestParseUnit(t *testing.T) {
	got := parseUnit("Result=exit-code\nNRestarts=4\nLimitNOFILE=262144\nLoadState=loaded\nActiveState=failed\nUnitFileState=enabled\nnonsense\nNRestarts\n")
	want := &doctor.Unit{Load: "loaded", Active: "failed", Result: "exit-code", File: "enabled", Limit: 262_144}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := parseUnit("LimitNOFILE=infinity\nNRestarts=2\n"); got.Limit != 0 || got.Restarts != 2 {
		t.Errorf("%+v", got)
	}
}

// The description tells names and sizes of files, and nothing of what is in them.
func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "node.key"), []byte("planted-key-material"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("USHER_TOKEN", "planted-in-the-environment")
	text, err := Describe(t.Context(), dir)
	var d Description
	if err = errors.Join(err, json.Unmarshal(text, &d)); err != nil || d.CPUs == 0 || d.MemoryTotal == 0 || len(d.Entries) != 2 || d.Entries[1].Bytes != 20 {
		t.Errorf("%+v (%v)", d, err)
	}
	if strings.Contains(string(text), "planted") {
		t.Errorf("it tells a secret:\n%s", text)
	}
}
