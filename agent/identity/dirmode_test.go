package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("access is not a matter of mode bits")
	}
	wantMode := func(t *testing.T, err error, path, command string) {
		t.Helper()
		loose, ok := errors.AsType[*ModeError](err)
		if !ok || loose.Path != path || !strings.Contains(err.Error(), command) {
			t.Errorf("error %v, want a ModeError with %q", err, command)
		}
	}
	t.Run("missing is made", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "a", "b")
		if _, err := OpenDir(path); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	})
	t.Run("empty is taken over", func(t *testing.T) {
		path := t.TempDir()
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(path); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
	})
	t.Run("full and open is refused", func(t *testing.T) {
		d, _, _ := founded(t)
		if err := os.Chmod(d.Path(), 0o750); err != nil {
			t.Fatal(err)
		}
		_, err := OpenDir(d.Path())
		wantMode(t, err, d.Path(), "chmod 700 "+d.Path())
	})
	for _, name := range []string{fileKey, fileSealKey} {
		t.Run(name, func(t *testing.T) {
			d, _, _ := founded(t)
			if err := os.Chmod(d.file(name), 0o640); err != nil {
				t.Fatal(err)
			}
			_, err := OpenDir(d.Path())
			wantMode(t, err, d.file(name), "chmod 600 "+d.file(name))
			_, err = d.Load()
			wantMode(t, err, d.file(name), "chmod 600 "+d.file(name))
		})
	}
	t.Run("a file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDir(path); err == nil {
			t.Error("a file passed for a directory")
		}
	})
}

func TestLock(t *testing.T) {
	d := testDir(t)
	l, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Lock()
	held, ok := errors.AsType[*LockedError](err)
	if !ok || held.PID != os.Getpid() || held.Path != d.file(fileLock) {
		t.Fatalf("second lock: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err = d.Lock()
	if err != nil {
		t.Fatalf("after closing: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What an agent that was killed leaves behind is no obstacle.
	if err := os.WriteFile(d.file(fileLock), []byte("99999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err = d.Lock(); err != nil {
		t.Fatalf("stale file: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWriteFileLeavesNoTrace(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"+tempSuffix), []byte("left over"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, "f", []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil || looseMode(info.Mode()) || string(mustRead(t, filepath.Join(dir, "f"))) != "new" {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(dir, "f"+tempSuffix)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
}
