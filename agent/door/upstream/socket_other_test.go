//go:build !linux

package upstream

import (
	"net"
	"testing"
)

func checkUserTimeout(*testing.T, net.Conn) {}
