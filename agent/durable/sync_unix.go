//go:build unix

package durable

import (
	"errors"
	"os"
	"syscall"
)

// SyncDir makes the renames, links and removals in a directory durable. A file system that
// cannot sync directories has no better to offer: that is no error.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
