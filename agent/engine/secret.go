package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const maxSecret = 4 << 10

// ReadSecret reads the shared secret of the engine API from a file: one line of
// printable ASCII without spaces (RFC 6750's b68token, generously), 16 to 4,096
// characters, a line break at the end ignored. Errors never hold the secret.
func ReadSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("open engine secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+3))
	if err != nil {
		return "", fmt.Errorf("read engine secret: %w", err)
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) < 16 || len(b) > maxSecret {
		return "", fmt.Errorf("engine secret in %s: it must be 16 to %d characters long", path, maxSecret)
	}
	for _, c := range b {
		if c <= ' ' || c >= 0x7f {
			return "", fmt.Errorf("engine secret in %s: %w", path, errSecretForm)
		}
	}
	return string(b), nil
}

var errSecretForm = errors.New("it must be one line of printable ASCII without spaces")
