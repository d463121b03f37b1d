package upstream

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"
)

// Refused reports whether err means that nobody listens at the destination
// (connection refused), which is how a dead engine is told from a busy one.
func Refused(err error) bool {
	return errors.Is(err, windows.WSAECONNREFUSED) || errors.Is(err, syscall.ECONNREFUSED)
}
