//go:build !unix

package upstream

import "net"

// peeker is not to be had on this system: idle connections are watched.
type peeker struct{}

func newPeeker(net.Conn) *peeker { return nil }

func (p *peeker) quiet() bool { return false }
