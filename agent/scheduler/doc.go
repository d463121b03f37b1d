// Package scheduler turns tasks into runs: the leader decides which occurrence is
// due and which node runs it, and every node runs what it was given.
//
//	leader (Lead)                      the replicated state                 worker (Run)
//	  plan: due? where?  --Claim-->  claimed on node N, fence F
//	                                                    <--Start F--  N is about to launch
//	                                 started                          (committed: launch now)
//	                                                    <--Renew F--  every fsm.LeaseRenew
//	                                 renewed
//	  plan: lease over?  --Lose F->  pending | lost
//	                                                    <--Finish F-  how it ended
//	                                 succeeded | pending | failed
//	  plan: no node, too late, or
//	  the one before runs --Skip-->  missed | skipped
//
// Each arrow is a command that compares and sets, so the state alone matters: a
// leader keeps nothing that the next one needs, a repeated or late command is
// refused, and an attempt is started at most once. The fence F is the revision of
// the claim. It reaches the engine, which refuses a lower one than it has seen.
//
// A worker aborts the work fsm.LeaseAbort after it sent the last renewal that was
// acknowledged; the leader waits for fsm.LeaseLost after that renewal was stamped.
// The difference is what a worker has for stopping before another one may begin;
// it covers clocks that run at different speeds, not a process that is paused for
// longer. For that there is the fence.
//
// Due times are nominal and pure: Due is a function of the task and of a time, so
// every leader comes to the same ones. plan is pure as well; leader.go and worker.go
// carry out and decide nothing.
package scheduler
