package main

import (
	"fmt"
	"net"
	"strconv"
)

// Ports of a demonstration: ten for each node, of which it uses three. The last of the
// first ten claims the block.
const (
	demoBase  = 18080
	demoBlock = 100 // to the next default base
	demoTries = 20

	portsPerNode = 10
	portDoor     = 0
	portAPI      = 1
	portCluster  = 2
	portClaim    = 9
)

// claimPorts finds the base of a free block and holds a port of the block that no
// agent uses: of two demonstrations that start together one gets it. A base that
// somebody asked for is taken or refused; the default one moves on.
func claimPorts(nodes, asked int) (base int, claim net.Listener, err error) {
	if asked != 0 {
		if asked < 1024 || asked+nodes*portsPerNode > 65535 {
			return 0, nil, usage("use --port-base 1024 to 65000", "--port-base %d is out of range", asked)
		}
		claim, busy := claimBlock(nodes, asked)
		if busy != 0 {
			return 0, nil, failed("choose another --port-base, or leave it out", "port %d is in use by another program", busy)
		}
		return asked, claim, nil
	}
	for i := range demoTries {
		base := demoBase + i*demoBlock
		if claim, busy := claimBlock(nodes, base); busy == 0 {
			return base, claim, nil
		}
	}
	return 0, nil, failed("choose a free block with --port-base", "no free block of ports was found from %d to %d", demoBase, demoBase+demoTries*demoBlock)
}

// claimBlock names the port that is busy, or 0.
func claimBlock(nodes, base int) (net.Listener, int) {
	claim, err := net.Listen("tcp", loopbackAddr(base+portClaim))
	if err != nil {
		return nil, base + portClaim
	}
	if busy := busyPort(nodes, base); busy != 0 {
		_ = claim.Close()
		return nil, busy
	}
	return claim, 0
}

// busyPort is the first port of the block that cannot be had; 0 when all can.
func busyPort(nodes, base int) int {
	for i := range nodes {
		for _, offset := range []int{portDoor, portAPI, portCluster} {
			port := base + i*portsPerNode + offset
			ln, err := net.Listen("tcp", loopbackAddr(port))
			if err != nil {
				return port
			}
			_ = ln.Close()
		}
	}
	return 0
}

func loopbackAddr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func loopbackURL(port int) string { return fmt.Sprintf("http://%s", loopbackAddr(port)) }
