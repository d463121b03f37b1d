// Package transport is the one cluster port: a TCP listener with mutual TLS 1.3 on
// which ALPN picks the protocol.
//
//	            +--------------------------- Port ----------------------------+
//	TCP --TLS-->| handshake: one ALPN name, certificate of this cluster's CA, |
//	            | right class, not removed                                    |
//	            |   usher/gossip/1   usher/raft/1   usher/api/1   ...         |
//	            +------|----------------|---------------|---------------------+
//	               net.Listener     net.Listener    net.Listener
//
// Nothing is read from a connection before its certificate was verified, except on
// usher/join/1, whose clients have none yet. Beyond TLS's own messages nothing is
// written to a refused peer. Every connection is tracked, so that Close ends them
// all and a removed node's can be cut.
package transport
