// Package admin is the admin API: one HTTP API for the command line, the console,
// scripts and the agents' calls to each other, and the typed Client for it.
//
//	socket   peer credentials ----+
//	TCP      bearer token --------+--> route table --> role --> handler --> Backend
//	peers    node certificate ----+        |
//	                                       +--> OpenAPI document, tests
//
// Everything is derived from one table of routes (routes.go): the mux, who may
// call, the OpenAPI document and the tests. A route that is not in the table does
// not exist, and a route without a role does not compile into the mux.
//
// Reads are linearizable unless the caller says ?stale. Those about status, nodes,
// engines, sessions and documents fall back to what this node knows within a
// second when there is no quorum, and say so: X-Usher-Stale, X-Usher-Age, and
// "stale" in the body. Every answer names the revision that it shows in
// X-Usher-Index; ?index=N&wait=30s waits for a newer one.
//
// Writes are commands of package fsm. A row's etag is its revision; If-Match and
// If-None-Match: * become the command's compare-and-set, and an Idempotency-Key
// becomes the command's ID. Errors are problem documents (RFC 9457) with a stable
// code and the next step to take.
//
// Plain requests take a short way past net/http (lane.go), and requests that wait for news
// are parked outside of it (lot.go). The handlers see no difference.
//
// On the cluster port the same server answers other agents, on a table of its own:
// a follower forwards commands with the token of whoever asked, and the leader
// checks each as if it had arrived there (forward.go, internal_apply.go).
package admin
