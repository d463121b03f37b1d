package identity

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

const fileLock = "LOCK"

// LockedError means that another agent runs on the data directory.
type LockedError struct {
	Path string
	PID  int // of the holder; 0 when it could not be read
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID > 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s is held by %s: one agent runs per data directory: stop that one, or name another directory", e.Path, who)
}

// errLockHeld is what tryLock returns when another process holds the lock.
var errLockHeld = errors.New("held by another process")

// Lock is the right to write in a data directory, held by one process at a time. The
// operating system lets go of it when the process ends, however it ends.
type Lock struct{ f *os.File }

// Lock takes the directory's lock, or returns a LockedError at once. The LOCK file
// stays: removing it would let two processes hold two files of one name.
func (d *Dir) Lock() (*Lock, error) {
	path := d.file(fileLock)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := tryLock(f); err != nil {
		pid := readPID(f)
		_ = f.Close()
		if errors.Is(err, errLockHeld) {
			return nil, fmt.Errorf("lock data directory: %w", &LockedError{path, pid})
		}
		return nil, fmt.Errorf("lock data directory: %s: %w", path, err)
	}
	l := &Lock{f}
	if err := l.writePID(os.Getpid()); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return l, nil
}

// Close gives the lock back.
func (l *Lock) Close() error {
	// Closing the file ends the lock; an empty file names nobody in the meantime.
	if err := errors.Join(l.f.Truncate(0), l.f.Close()); err != nil {
		return fmt.Errorf("unlock data directory: %w", err)
	}
	return nil
}

func (l *Lock) writePID(pid int) error {
	if err := l.f.Truncate(0); err != nil {
		return err
	}
	_, err := l.f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
	return err
}

func readPID(f *os.File) int {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return pid
}
