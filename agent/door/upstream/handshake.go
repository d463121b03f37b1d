package upstream

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
)

// Errors of ValidHandshake, told apart with errors.Is.
var (
	ErrHandshake = errors.New("not a websocket handshake")
	// ErrHandshakeVersion deserves 426 with "Sec-WebSocket-Version: 13" (RFC 6455 4.4).
	ErrHandshakeVersion = errors.New("websocket version is not 13")
)

// ValidHandshake reports why a request, as the client sent it, is not a WebSocket
// handshake that may be passed on (RFC 6455 4.2.1): GET, "Connection: Upgrade",
// "Upgrade: websocket" alone, version 13, and one key of 16 bytes in base64. h has
// canonical names and has not been cleaned.
func ValidHandshake(method string, h http.Header) error {
	upgrade, version, key := h["Upgrade"], h["Sec-Websocket-Version"], h["Sec-Websocket-Key"]
	switch {
	case method != http.MethodGet:
		return fmt.Errorf("%w: method", ErrHandshake)
	case !hasElement(h["Connection"], "upgrade"):
		return fmt.Errorf("%w: connection is not upgraded", ErrHandshake)
	case len(upgrade) != 1 || !hasElement(upgrade, "websocket"):
		return fmt.Errorf("%w: upgrade to something else", ErrHandshake)
	case len(version) != 1 || version[0] != "13":
		return ErrHandshakeVersion
	case len(key) != 1 || !isKey(key[0]):
		return fmt.Errorf("%w: key", ErrHandshake)
	}
	return nil
}

func isKey(s string) bool {
	const encoded, decoded = 24, 16
	var b [18]byte
	if len(s) != encoded {
		return false
	}
	n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(s))
	return err == nil && n == decoded
}
