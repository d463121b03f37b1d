//go:build !windows

package upstream

import (
	"errors"
	"syscall"
)

// Refused reports whether err means that nobody listens at the destination
// (connection refused), which is how a dead engine is told from a busy one.
func Refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
