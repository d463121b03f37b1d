// Package fsm is the replicated truth of a cluster: a state, the closed set of
// commands that change it, their encoding, and snapshots.
//
//	proposal -> Encode -> Raft log -> FSM.ApplyBatch -> View
//	                                      |               immutable, cheap, safe to keep
//	                                      +-> Result      remembered by command ID
//
// It is pure and deterministic. No clock, randomness, map order, floating point
// number or environment reaches the state: time is stamped by the leader into the
// entry, IDs and secrets are drawn by the proposer and travel in the command.
// Two replicas that applied the same entries have equal hashes (View.Hash).
//
// A command checks everything first and then writes: memdb has no savepoints, so
// a command that returns an error must not have written anything.
//
// Every command gets the next revision, whether it was carried out or refused.
// Rows carry the revisions of the commands that created and last modified them;
// ETags, watch indexes and fencing tokens are revisions, never Raft indexes,
// because many commands share a Raft entry.
//
// raft is imported by raft.go alone.
package fsm
