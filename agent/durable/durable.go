// Package durable makes changes of directories outlast a power cut. A file that was synced
// and then renamed may be back under its old name afterwards, or gone, until its directory
// is synced too (fsync(2)).
package durable

import (
	"os"
	"path/filepath"
)

// Rename renames a file or directory and returns when that is on disk. What is in it must
// have been synced before.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, before := filepath.Dir(to), filepath.Dir(from)
	if dir != before { // first where it is, so that it is never nowhere
		if err := SyncDir(dir); err != nil {
			return err
		}
	}
	return SyncDir(before)
}
