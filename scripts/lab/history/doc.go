// Package history is what the laboratory knows of a run afterwards: a record of every
// operation that a client tried, and the checks that judge it.
//
//	clients --Add--> Recorder --> history.jsonl --Read--> Check <-- Input: the nodes' final
//	                                                         |      states, occurrences,
//	                                                         v      counters, leaders, losses
//	                                                       Report
//
// A check is a pure function of what it is given. It passes only if it has looked at
// something: a verdict that checked nothing counts as a failure, unless the run says
// that it was without.
package history
