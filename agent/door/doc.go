// Package door is the front door of an agent: the HTTP server where users arrive,
// and the other end of it, where the doors of other agents bring sessions whose
// engine is beside this one.
//
//	user ──► accept ─► head ─► session ─► place ─► admit ─► forward ─► account
//	           │        │        │          │        │         │
//	           │        │        │          │        │         ├─► engine beside us
//	           │        │        │          │        │         └─► owner's agent ─► its engine
//	           │        │        │          │        └ the owner asks for a seat when a session opens
//	           │        │        │          └ placement; the best two are asked (usher/session/1)
//	           │        │        └ sealed cookie: session, engine, time; it routes, it never authenticates
//	           │        └ strict checks, document key, who the client is
//	           └ one goroutine per connection (serve)
//
// The owner of an engine is the agent beside it. It alone keeps the table of the
// engine's sessions, so counts are exact whichever door a user came through. A door
// that is not the owner sends the request to it over a pooled connection of the
// cluster port, with X-Usher-* fields that only agents may set; the owner serves it
// with the same code and never forwards it again. When the owner does not want the
// request it says so with X-Usher-Refused, which promises that no engine has seen
// it, or for "engine_lost" that the engine may have.
//
// Answers that the door makes itself carry X-Usher-Error with a stable code, and
// nothing of what went on inside.
//
// A Door is safe for concurrent use. It starts goroutines in Run only, and those
// for asking other owners, which Close waits for.
package door
