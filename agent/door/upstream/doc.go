// Package upstream is the door's HTTP/1.1 client: it writes one request to an
// engine (or to another agent's door), reads one answer strictly, and keeps the
// connections that may be used again. That of a 101 it hands over.
//
//	            +---------------------- Pool (one per destination) ----------+
//	RoundTrip ->| idle, newest first -> healthy? --no--> dial                 |
//	            |        ^                 | yes           |                  |
//	            |        |                 v               v                  |
//	            |   whole answer read <- exchange: write head, send body,     |
//	            |   whole body sent       read 1xx*, head, body, trailers     |
//	            +--------------------------|----------------------------------+
//	                                       | 101
//	                                       v
//	                               the bare connection
//
// What is written comes from the parsed form and is checked field by field, so
// nothing that a client sent can end a line. What is read is refused rather than
// repaired (RFC 9112): a connection that carried anything doubtful is closed and
// never carries another user's request.
//
// Deadlines are coarse: a socket's deadline may be up to one second later than
// asked for, so that a busy connection does not pay for arming it on every read.
//
// The package takes its connections from a dial function, starts a goroutine only
// for a request body and for an idle connection that cannot be asked for its health,
// and waits for every one of them.
package upstream
