package engine

import (
	"errors"
	"syscall"
)

// refused reports whether nothing listens at the address that was dialed. On
// Windows syscall.ECONNREFUSED is an invented number; the system says
// WSAECONNREFUSED.
func refused(err error) bool {
	const wsaECONNREFUSED = syscall.Errno(10061)
	return errors.Is(err, wsaECONNREFUSED) || errors.Is(err, syscall.ECONNREFUSED)
}
