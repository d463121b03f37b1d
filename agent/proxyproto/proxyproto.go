// Package proxyproto reads the header of the PROXY protocol, versions 1 and 2, by which a
// proxy that passes connections on says whose they are (haproxy.org, doc/proxy-protocol.txt
// of 2020-03-05). It uses the standard library alone.
//
//	+--------+   header, then the client's bytes as they came   +--------+
//	| proxy  | ------------------------------------------------>|  Read  |
//	+--------+                                                  +--------+
//	version 1:  "PROXY TCP4 192.0.2.7 198.51.100.1 51234 443\r\n"
//	version 2:  12 bytes of signature, command, family, length, addresses, TLVs
//
// Read takes the header from a connection and not one byte more, without looking ahead:
// it never asks for more than must still belong to the header. Whoever reads next, be it
// TLS or HTTP, finds the connection as if there had been no header, and nothing needs to be
// wrapped around it.
//
// Whatever is not exactly as the specification has it is refused and never repaired. Who
// may send a header is the caller's question, and so is the time that it may take: set a
// deadline.
package proxyproto

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
)

// Limits of a header, in bytes.
const (
	MaxLine  = 107     // of version 1, with its CR LF (2.1)
	MaxBlock = 4 << 10 // of version 2, behind the first 16 bytes; a matter of taste
)

// Header is what a proxy says of a connection.
type Header struct {
	// Local says that nobody is behind the connection but the proxy itself, which looks
	// whether the server is there: the connection's own addresses hold.
	Local bool
	// Source and Destination are the ends of the connection that the proxy passes on. They
	// are not valid with Local, and where the proxy knows none, or none of IP: for version 1
	// UNKNOWN, for version 2 AF_UNSPEC and AF_UNIX. IPv4 in IPv6 is given as IPv4.
	Source, Destination netip.AddrPort
}

// ErrMissing says that what came is not the beginning of a header.
var ErrMissing = errors.New("no PROXY protocol header")

// Error says what is wrong with a header. The connection is of no use then.
type Error struct {
	Version int    // of the header, 1 or 2
	Reason  string // a constant phrase without anything that the sender wrote
	Offset  int    // of the fault: bytes from the beginning of the header
}

// Error gives reason and place.
func (e *Error) Error() string {
	return "PROXY protocol version " + strconv.Itoa(e.Version) + ": " + e.Reason + " at byte " + strconv.Itoa(e.Offset)
}

// usual is enough for a header of either version as proxies send it.
const usual = 256

// Read reads a header, and nothing behind it. It returns ErrMissing or an *Error as soon as
// the bytes show it, io.EOF when there was none, io.ErrUnexpectedEOF when the connection
// ended within the header, and the connection's own error.
func Read(r io.Reader) (Header, error) {
	buf := make([]byte, 0, usual)
	for {
		h, missing, err := parse(buf)
		if err != nil || missing == 0 {
			return h, err
		}
		at := len(buf)
		if at+missing > cap(buf) {
			buf = append(make([]byte, 0, at+missing), buf...)
		}
		n, err := r.Read(buf[at : at+missing])
		buf = buf[:at+n]
		switch {
		case n > 0: // an error comes again
		case err == nil:
			return Header{}, fmt.Errorf("read PROXY protocol header: %w", io.ErrNoProgress)
		case !errors.Is(err, io.EOF):
			return Header{}, fmt.Errorf("read PROXY protocol header: %w", err)
		case at > 0:
			return Header{}, io.ErrUnexpectedEOF
		default:
			return Header{}, io.EOF
		}
	}
}

// shortest is the length of the shortest header, "PROXY UNKNOWN\r\n"; version 2 has 16
// bytes and more.
const shortest = 15

// parse reads a header that has come as far as b. While missing is not 0, at least so many
// bytes more belong to the header.
func parse(b []byte) (h Header, missing int, err error) {
	switch {
	case begins(b, lineStart):
		if len(b) >= shortest {
			return parseLine(b)
		}
	case begins(b, signature):
		if len(b) >= shortest {
			return parseBinary(b)
		}
	default:
		return Header{}, 0, ErrMissing
	}
	return Header{}, shortest - len(b), nil
}

// begins reports whether b begins with prefix, as far as it goes.
func begins(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}
