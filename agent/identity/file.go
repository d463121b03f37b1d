package identity

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ushercluster/usher/agent/durable"
)

// maxFileBytes bounds a node file. The largest, ca.pem, takes about 1 KiB a CA.
const maxFileBytes = 64 << 10

// FileError is a node file that is missing, damaged, or does not fit the others. Its text names the file and says
// what to do.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s: %s: restore it from a backup, or delete the data directory and join anew", e.Path, e.Err)
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }

// ModeError is a file or directory that other users of the machine may read or
// write. Its text has the command that ends that.
type ModeError struct {
	Path string
	Mode fs.FileMode
	Want fs.FileMode
}

func (e *ModeError) Error() string {
	return fmt.Sprintf("%s has mode %04o, so others may use what is secret in it: run: chmod %o %s", e.Path, e.Mode, e.Want, e.Path)
}

// writeFile replaces dir/name in one step: whatever happens, the file has its old
// content or its new one, and the new one is on disk when writeFile returns.
func writeFile(dir, name string, content []byte) (err error) {
	temp := filepath.Join(dir, name+tempSuffix)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("write %s: %w", name, err)
	}
	// O_EXCL: never through a link that somebody else put there.
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = durable.Rename(temp, filepath.Join(dir, name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

const tempSuffix = ".tmp"

// removeFile removes dir/name for good; one that is not there is fine.
func removeFile(dir, name string) error {
	err := os.Remove(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = durable.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// readFile reads a node file. A missing one is fs.ErrNotExist, one that is too large
// a FileError, a secret that others may read a ModeError; what the operating system
// says names the path.
func readFile(dir, name string, secret bool) ([]byte, error) {
	path := filepath.Join(dir, name)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if secret && looseMode(info.Mode()) {
		return nil, &ModeError{path, info.Mode().Perm(), 0o600}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFileBytes {
		return nil, &FileError{path, fmt.Errorf("it is over %d bytes", maxFileBytes)}
	}
	return b, nil
}
