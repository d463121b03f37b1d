//go:build !windows

package engine

import (
	"errors"
	"syscall"
)

// refused reports whether nothing listens at the address that was dialed.
func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
