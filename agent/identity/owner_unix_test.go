//go:build unix

package identity

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestGiveToOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can give files away")
	}
	owner := func(path string) uint32 {
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Uid
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "raft", "file")
	link := filepath.Join(dir, "link")
	outside := filepath.Join(t.TempDir(), "outside")
	for _, path := range []string{file, outside} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	if err := GiveToOwner(dir); err != nil || owner(file) != 0 {
		t.Errorf("root's own directory: %v, now of %d", err, owner(file))
	}
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := GiveToOwner(dir); err != nil || owner(file) != 12345 || owner(filepath.Dir(file)) != 12345 || owner(link) != 12345 {
		t.Errorf("%v: of %d", err, owner(file))
	}
	if owner(outside) != 0 {
		t.Error("what a link leads to was given away")
	}
	if err := GiveToOwner(filepath.Join(dir, "absent")); err != nil {
		t.Errorf("no directory: %v", err)
	}
}
