//go:build !unix

package load

import "net"

// alive cannot tell here.
func alive(net.Conn) bool { return true }
