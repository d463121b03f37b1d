package consensus

import (
	"fmt"
	"runtime/debug"
)

// DamageError means that the files below raft/ are not what this node left there: a
// file is gone, cut short or unreadable, or the log ends before what was durably
// promised. A node that voted all the same might vote twice in one term, or help to
// elect a leader that lacks what was acknowledged; so it is not to be opened. Nothing
// on the disk was changed.
type DamageError struct {
	Path string // the file or directory that shows it
	What string // what is wrong with it
}

func (e *DamageError) Error() string { return e.Path + ": " + e.What }

func damaged(path, what string, args ...any) *DamageError {
	return &DamageError{Path: path, What: fmt.Sprintf(what, args...)}
}

// guarded opens a library's file. The files are looked through before, so a panic or
// a fault in its memory map is not expected; if there is one, it is an error that
// names the file, not the end of the process.
func guarded(path string, open func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, "cannot be opened: %v", r)
		}
	}()
	return open()
}
