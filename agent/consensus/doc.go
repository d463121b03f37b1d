// Package consensus keeps the replicated state of the cluster: hashicorp/raft over
// the cluster port, with the FSM of package fsm.
//
//	Apply --- leader here? --> stamp --> Raft log --> FSM --> result
//	   \___ leader elsewhere: forwarded with the same command ID ___/
//
// Raft's server IDs and addresses are both node IDs; whoever dials resolves them,
// so that addresses may change. A command keeps its ID over every retry, so an
// outcome that was unknown (a leader lost in between) is found out by asking again.
//
// Traps that this package closes, each with a test or an assertion: heartbeats go
// through Raft's main loop (raft#695), PreVote survives our wrapping, the log store
// stays monotonic behind its watchdog, a failed or hanging disk ends the process.
package consensus
