// Package night goes through the nights of docs/runbook.md with real agents: it brings about
// what a page is for, does what the page says with the commands that it prints, and checks that
// what was acknowledged before is there after, or that a command had said it would not be.
//
//	world up, load on: settings, tasks, runs, API tokens, sessions
//	    ledger: each write with its revision, and how it ended
//	the night: disks lost, a disk full, a clock wrong, ...
//	    book: only commands that the page prints
//	    said: what the commands printed, before anything was changed
//	after: ledger against the state and what was said; a whole cluster, equal states on the
//	    disks, doors that serve, a write, nothing leaked
package night
