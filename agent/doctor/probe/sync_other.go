//go:build !linux

package probe

import "os"

// datasync is what the log waits for.
func datasync(f *os.File) error { return f.Sync() }
