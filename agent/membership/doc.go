// Package membership turns gossip into a sorted []peer.Peer: who is there, where,
// and how loaded they say they are.
//
//	 listeners, Dial              memberlist                     the agent
//	+---------------+   packets  +-----------+  node states  +--------------+
//	|    fabric     | <========> |           | ============> |    merge     | => Peers
//	| pool, inbound |   streams  |   SWIM    |               | highest boot |
//	+---------------+            +-----------+               |     wins     |
//	       ^                           ^ user messages       +--------------+
//	       | join (every 15 s)         v                            ^
//	    Contacts                    reports =========================+  Load
//
// The protocol is SWIM with Lifeguard's refinements, as hashicorp/memberlist
// implements it. There is no UDP: packets travel as length-prefixed frames on
// pooled connections, with a datagram's manners (bounded queues, dropped when
// full, nobody waits). Authentication and encryption are the business of the
// listeners and the dial function that are given.
//
// A node is known to memberlist as "NODE-ID.BOOT", because memberlist keeps a
// name at its old address for as long as it believes in it. Peers merges by node:
// the highest boot wins, and a lower one is not admitted again.
//
// What is said here is a hint. Gossip never changes Raft's voters, never counts
// seats and never authorises.
package membership
