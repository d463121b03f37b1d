package door

import (
	"encoding/hex"
	"fmt"
	"io"
)

// SessionID names one session in the whole cluster: 128 random bits, or the hash
// of a client's key.
type SessionID [16]byte

// String is 32 hexadecimal digits.
func (id SessionID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first half, which engines and logs see: enough to tell sessions
// apart, and no key to any door.
func (id SessionID) Short() string { return hex.EncodeToString(id[:8]) }

// ParseSessionID reads what String wrote.
func ParseSessionID(s string) (SessionID, error) {
	var id SessionID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("session id has %d characters, want %d", len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return SessionID{}, fmt.Errorf("session id: %w", err)
	}
	return id, nil
}

func newSessionID(random io.Reader) (SessionID, error) {
	var id SessionID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return id, fmt.Errorf("draw session id: %w", err)
	}
	return id, nil
}
