package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRename(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(dir, "a")
	for _, to := range []string{filepath.Join(dir, "b"), filepath.Join(other, "c")} {
		if err := os.WriteFile(from, []byte(to), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rename(from, to); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(to); err != nil || string(b) != to {
			t.Errorf("%s: %q, %v", to, b, err)
		}
		if _, err := os.Stat(from); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", from, err)
		}
	}
	if err := Rename(from, filepath.Join(dir, "d")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := SyncDir(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
