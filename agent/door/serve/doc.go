// Package serve is the server side of the door: it accepts connections that speak
// HTTP/1.0 and 1.1, reads their requests with http1, strictly, and has them answered.
//
//	            +------------------------- Conn (one goroutine) ---------------------------+
//	net.Conn -->| idle --> head --> express? --yes--> answered by the hook, nothing made    |
//	            |  ^        |          |                                                    |
//	            |  |        |          +--no--> *http.Request --> Handler --> response     |
//	            |  |        +--malformed--> page, close                            |        |
//	            |  +----------------------- keep-alive ----------------------------+        |
//	            +---------------------------------------------------------------------------+
//	Server.sweep, twice a second: what is late is ended, who waits for an answer is watched
//
// There are two ways. The whole one makes a *http.Request and an http.ResponseWriter as
// net/http does, and a Handler of net/http serves it, so that the same Handler can stand
// behind HTTP/2. The express one is a hook that sees the parsed head and may answer it on
// the connection itself; it allocates nothing, and leaves to the Handler whatever it does
// not want.
//
// # Time
//
// No deadline is armed per request: that costs more than parsing it. A connection says
// in one atomic word what it does and by when, and one goroutine for all of them looks
// twice a second (Tick). Limits are therefore kept to within a second. The same look
// finds clients that have gone while their request was under way: from the second look
// on somebody reads from them.
//
// # Ends
//
// A request whose end is doubtful, or that was not read whole, is its connection's last:
// the answer says so, this side is shut, and what still comes is thrown away for a
// moment, so that the client gets to read the answer (RFC 9112 9.6).
package serve
