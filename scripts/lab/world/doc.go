// Package world makes what the laboratory breaks: real agents with real data directories
// and built-in engines, each in a network of its own, and everything around them.
//
//	this machine's network                 a namespace for each node
//	+--------------------+                +-------------------------------+
//	| clients -- bridge --+-- veth -------+-- uplink  agent, engine        |
//	|        .254         |               |   .1      rules of nftables    |
//	+--------------------+                +-------------------------------+
//	  sockets of the admin APIs: files      data directory: on this disk, or a
//	                                        loop file system that can lose power
//
// Cuts between nodes are rules inside the nodes' namespaces, so that clients still reach a
// node that the others do not.
//
// Everything that is made carries the tag usher-lab-PID in its name. So it is found and
// removed whatever ended the laboratory: at the end of a run by Close, and what a killed
// one left behind by Sweep.
package world
