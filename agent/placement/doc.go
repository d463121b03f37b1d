// Package placement decides: which engine takes a new session, which node runs a
// task, which servers vote. It is pure: it reads what it is given, asks nobody,
// keeps no clock, and draws from the random source that the caller hands it.
//
// A new session goes the way of "sample five, ask the best two":
//
//	eligible engines ── sample 5 by weight ── rank by corrected load ── ask the best 2 ── take the better answer
//
// Reports of load are a second old or more when a door reads them. Ranking by the
// report alone makes every door run to the same engine until the next report (a
// herd); so the door adds what it has decided itself since then, samples at random,
// and lets two engines say for themselves. Numbers that are compared have to be of the
// same age: what other doors opened in the last tenth of a second is left out of every
// answer, or the engine that answers last would look fuller than it is. When neither answers in time, two are
// drawn at random and the one that is less loaded, as far as is known, is taken:
// the power of two choices (Mitzenmacher 2001, "The Power of Two Choices in
// Randomized Load Balancing").
package placement
