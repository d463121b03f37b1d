//go:build unix

package identity

import (
	"errors"
	"io/fs"
	"os"
)

// looseMode reports whether anybody but the owner may do anything.
func looseMode(m fs.FileMode) bool { return m.Perm()&0o077 != 0 }

// syncDir makes renames and removals in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
