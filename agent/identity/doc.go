// Package identity says who a node is: the cluster's CA, node certificates, the
// files that hold them, the tokens that let machines and people in, and the
// sealing of what only servers may read.
//
// A machine becomes a node by the join exchange on ALPN usher/join/1. TLS
// authenticates the server alone; the join token does the rest, because it holds
// both a secret and the SHA-256 of the cluster's CA:
//
//	joiner                                        server
//	  | keys and ID are on disk before anything      |
//	  | is sent, so a repeat is the same request     |
//	  |-- TLS 1.3, usher/join/1 -------------------->|
//	  |<- chain: leaf, CA ---------------------------|
//	  | the CA has the token's SHA-256? the leaf     |
//	  | verifies against exactly that CA?            |
//	  |-- JoinRequest: secret, CSR, seal key ------->|
//	  |                                   admit: the token's hash, compare-and-
//	  |                                   set in Raft, sign after the commit
//	  |<- JoinAnswer: chain, roots, contacts --------|
//	  | our key, our ID, the token's CA? then save   |
//
// A lost answer costs nothing: the joiner asks again with the same key, and uses
// of a token count distinct public keys.
//
// Secrets in the replicated state are sealed under a DataKey (AES-256-GCM), which
// is wrapped for each server's own SealKey (HPKE, RFC 9180), so that no key file
// is shipped around. Snapshots that leave the cluster are sealed to the public half
// of the RecoveryKey, which is printed once.
//
// Printing a token, a key or a Node by accident, with any verb of fmt, shows no
// secret; Reveal is the deliberate way.
package identity
