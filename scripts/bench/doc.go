// Package bench is what the measurements of whole clusters share: clusters of real
// processes (usher's agents, etcd's members) on loopback, a client that costs little,
// the figures made from what was seen, and the check that nothing acknowledged was
// lost.
//
// Every process that it starts, it ends; every directory lies below one that its
// caller gives and removes.
package bench
