package agent

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// busyPort says of an address that cannot be bound what to do about it.
func busyPort(what, addr, flag string, err error) error {
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("open %s: %w", what, err)
	}
	hint := ""
	if _, port, _ := net.SplitHostPort(addr); port == "14747" {
		hint = " (QlikView Server uses 14747 too)"
	}
	return fmt.Errorf("open %s: %s is in use by another program%s: stop that, or choose another with %s: %w", what, addr, hint, flag, err)
}
