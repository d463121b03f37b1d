package main

import (
	"fmt"
	"net"
	"strconv"
)

// Ports of a demonstration: ten for each node, of which it uses three.
const (
	demoBase  = 18080
	demoBlock = 100 // to the next default base
	demoTries = 20

	portsPerNode = 10
	portDoor     = 0
	portAPI      = 1
	portCluster  = 2
)

// demoPorts finds the base of a free block. A base that somebody asked for is taken
// or refused; the default one moves on.
func demoPorts(nodes, asked int) (int, error) {
	if asked != 0 {
		if asked < 1024 || asked+nodes*portsPerNode > 65535 {
			return 0, usage("use --port-base 1024 to 65000", "--port-base %d is out of range", asked)
		}
		if busy := busyPort(nodes, asked); busy != 0 {
			return 0, failed("choose another --port-base, or leave it out", "port %d is in use by another program", busy)
		}
		return asked, nil
	}
	for i := range demoTries {
		if base := demoBase + i*demoBlock; busyPort(nodes, base) == 0 {
			return base, nil
		}
	}
	return 0, failed("choose a free block with --port-base", "no free block of ports was found from %d to %d", demoBase, demoBase+demoTries*demoBlock)
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
