// Package sim breaks clusters in fake time, by seeded plans, and checks what usher
// promises. All of it is tests:
//
//	TestRaft      3 or 5 stores of the replicated state on a network and disks in memory
//	TestCluster   whole clusters of agents as they are built for production
//
//	seed --> plan of faults -------> injector --> memnet, disks, nodes
//	     `-> clients ---> operations with their outcomes ----.
//	                      logs, commits, states, leaders ----+--> truth, checks
//
// The checks, all through the run and again after everything has been healed:
//
//   - what was acknowledged is there, once, with the revision that was acknowledged;
//     what was refused, or never sent, is not
//   - a linearizable read shows everything that was acknowledged before it began, and
//     each state that is shown is the one that the committed log makes
//   - one leader in a term; entries of one index and term are the same everywhere; what
//     was committed is never replaced
//   - states of equal revision have equal hashes; their clock does not go back
//   - a disk that lost power still holds what its node had acknowledged
//   - after the last fault writes are acknowledged and all states become equal
//
// A seed makes the same plan and the same clients every time: which fault, when, for how
// long, on which nodes, and what each client does next. What it does not fix is how
// goroutines are scheduled and Raft's own dice for its timeouts, so whoever leads when a
// fault strikes "the leader", and whether a race is lost, may differ between two runs of
// one seed. A failure that depends on a narrow race may need some repetitions to come
// again: -sim.repeat.
//
// Not to be had in a bubble: processes that stand still while the clock goes on (SIGSTOP),
// and real files for (a). The fault laboratory has both.
package sim
