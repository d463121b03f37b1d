// Package http1 is the HTTP/1.x message layer: heads, bodies and their bytes, for
// servers and for proxies that stand between people and old programs. It is strict,
// it never repairs, and it allocates nothing for a request in the steady state.
//
//	            +-------------------- Reader -------------------+
//	net.Conn -->| buffer: [ head ][ framing | data | framing ]..|--> Request, Response
//	            |    Parse ----^        ^---- Body.Next         |--> pieces of the body
//	            +-----------------------------------------------+
//	net.Conn <-- the caller's buffer <-- AppendRequestLine, AppendField, AppendChunk ...
//
// The parts can be used alone. Request.Parse and Response.Parse read a head from a
// byte slice and go on where they stopped when more has come. Body counts and decodes
// what follows. The Append functions write. Reader joins them to a connection, and
// holds a buffer only while bytes of a message are in it.
//
// # What a request may be
//
// A head is read by RFC 9112 and refused, never mended, when it could be read in two
// ways. Refused are: a bare CR or LF, folded lines, NUL and other control characters,
// names that are no tokens (and so white space before a colon), Content-Length that is
// repeated, a list or anything but digits, Content-Length with Transfer-Encoding, any
// Transfer-Encoding but one "chunked", Transfer-Encoding in HTTP/1.0, a Host that is
// missing in HTTP/1.1, repeated, empty or not a host with an optional port, versions
// other than 1.0 and 1.1, targets that are not in origin-form, characters in a target
// that are not visible ASCII, "#", a broken percent-encoding in a path, CONNECT and TRACE,
// and a Trailer that announces fields of framing. Absolute-form is taken when its
// authority is that of Host, byte for byte but for case.
//
// What net/http would read otherwise is not accepted here: a fuzz test compares
// method, target, host, fields and body. What the standard leaves to the receiver:
//
//   - one empty line before a request is skipped (RFC 9112 2.2);
//   - a query may hold a "%" that encodes nothing, because many clients send it, and
//     targets may hold visible ASCII that RFC 3986 excludes, such as "|" and "{";
//   - Upgrade to anything but websocket is not refused (RFC 9110 7.8); Fields.Hop tells
//     that the field is not to be passed on.
//
// # What a response may be
//
// The same rules for lines, names and values. A reason phrase, and the space before it,
// may be missing. Content-Length may be repeated when all say the same. Whatever fails
// is a 502: a proxy that cannot tell where an answer ends cannot use the connection
// again, nor believe the answer.
//
// # Whose memory
//
// Every []byte that comes out of this package points into the buffer that was parsed.
// After Parse that is the caller's: results hold as long as it is not changed. From a
// Reader, a head holds until the next head is asked for, a piece of a body until the
// next piece is; each method says so. Copy what shall live longer.
package http1
