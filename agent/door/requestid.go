package door

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
)

// fieldRequestID names a request on its way through proxies, the engine's log, ours, and the
// page of a user who has to tell somebody what went wrong.
const fieldRequestID = "X-Request-Id"

// maxRequestID bounds one that a trusted proxy made.
const maxRequestID = 128

// requestIDs makes IDs of requests: a random word for the door's life, and a number.
type requestIDs struct {
	prefix string
	n      atomic.Uint32
}

func (ids *requestIDs) begin(random io.Reader) error {
	var b [6]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return fmt.Errorf("draw prefix of request IDs: %w", err)
	}
	ids.prefix = hex.EncodeToString(b[:]) + "-"
	return nil
}

// append appends the next ID. All are of the same length; after four thousand million the
// numbers begin again.
func (ids *requestIDs) append(dst []byte) []byte {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], ids.n.Add(1))
	return hex.AppendEncode(append(dst, ids.prefix...), n[:])
}

func (ids *requestIDs) next() string { return string(ids.append(nil)) }

// requestID is the ID that came with a request, when that is believed and can be one, else
// a new one.
func (d *Door) requestID(h http.Header, believed bool) string {
	if v := h[fieldRequestID]; believed && len(v) == 1 && validRequestID(v[0]) {
		return v[0]
	}
	return d.ids.next()
}

// validRequestID accepts what log lines and pages can hold: visible ASCII without quotes,
// angle brackets and backslashes.
func validRequestID(s string) bool {
	if len(s) == 0 || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c >= 0x7f, c == '"', c == '\'', c == '<', c == '>', c == '&', c == '\\':
			return false
		}
	}
	return true
}
