// Package pulse keeps one connection between each two servers of a cluster, on which
// small frames of one fixed size say how far each of them is: Raft's term, the end of
// its log, the revision of its state, its wall clock.
//
//	beat, once a second -------------------------->
//	ask(nonce) ------------------------------------>
//	<------------------------------- answer(nonce)      at once
//	read(nonce) ----------------------------------->
//	<-------------------- revision(nonce) or refused    when it is confirmed
//	gone(leader, term) ---------------------------->    "it refuses me"
//	stand(term, index) ---------------------------->    "stand for election"
//
// What the frames are used for is decided above: a linearizable read asks a majority
// (Round), promotions and planned moves look at the end of a log (Latest, Ask), the
// clock guard at the clocks, replication waits for a node to live (AwaitUp), and crash
// detection counts statements (Config.Gone).
//
// The server with the lower ID dials, and a server counts as reached from its first
// frame on. A connection on which nothing was heard for three and a half seconds counts
// as lost and is dialled anew, at first after a tenth of a second, then every second.
//
// Frames are not kept. Behind what TCP takes, 256 of them (24 KiB) wait for a server that
// does not read; further ones are dropped, and whoever sends one is told so at once. The
// connection stays: thousands of questions a second fill that while a server pauses for
// a fraction of one, which is no reason to close its pulse and, after it, Raft's
// connections. A server that takes no byte for two seconds is closed. Answers are never
// dropped: the newest question is the one that somebody still waits for, so a server
// that has fallen behind with its answers reads no more until they are out.
//
// Whoever waits for an answer
// hears when its connection ends, and has a deadline for one that hangs.
//
// The nonce round is the read index of Ongaro's thesis, section 6.4, with the answer's
// term in place of a heartbeat's success, because hashicorp/raft's VerifyLeader takes
// answers that were sent before the read began.
package pulse
