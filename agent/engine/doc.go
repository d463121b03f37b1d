// Package engine talks to one engine beside the agent: is it well, how loaded
// does it say it is, connect a user to it, reload a document in it.
//
// # Health
//
// An Engine is probed without pause, and every connection that the door opens is
// evidence too. Three healths come out of it:
//
//	           PassThreshold good probes
//	  +------------------------------------------+
//	  |                                          v
//	Unhealthy <------------------------------ Healthy
//	  ^    |      FailThreshold bad probes       |
//	  |    |                                     |
//	  |    | refused twice                       | refused twice
//	  |    v            in a row                 v in a row
//	  |  Dead <----------------------------------+
//	  |    |
//	  +----+ a connection was accepted
//
// A busy engine is not dead: one that answers too late, with a server error or
// with garbage takes no new sessions and keeps those it has. Only a refused
// connection, which the operating system answers when nothing listens, is death.
// Two refusals are asked for, 10 ms apart, so that one is never enough.
//
// The decisions are the pure function [machine.next]; everything else here moves
// bytes.
//
// # The engine API
//
// An engine may offer two paths, by default below [DefaultPrefix]: GET load, a
// [Report] about itself, and POST reload. Both are found by asking. They are
// specified for vendors in docs/engine.md, and the types of this package are the
// Go form of that page; the built-in engine uses them from the other side.
package engine
