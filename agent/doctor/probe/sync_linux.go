package probe

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync is what the log waits for.
func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
