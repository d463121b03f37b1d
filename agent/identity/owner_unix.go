//go:build unix

package identity

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// GiveToOwner gives everything below a data directory to the user that the directory
// belongs to, when root has written there for an agent that runs as somebody else. It
// does nothing for other users, and nothing when the directory is root's or is not there.
func GiveToOwner(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil || os.Geteuid() != 0 {
		return nil //nolint:nilerr // whoever wrote there has said so
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if of, ok := info.Sys().(*syscall.Stat_t); ok && of.Uid == 0 {
			return os.Lchown(path, int(owner.Uid), int(owner.Gid))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give files to the data directory's owner: %w", err)
	}
	return nil
}
