package identity

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// MaxSecretBytes bounds what ReadSecret reads.
const MaxSecretBytes = 4 << 10

// ErrNoSecret means that neither a file nor the environment gave a secret.
var ErrNoSecret = errors.New("no secret was given")

// ReadSecret finds a secret where it does not show in process lists: in the file,
// if one is named ("-" is stdin), else in value, which the caller took from the
// environment. White space around it is trimmed; at most MaxSecretBytes are
// accepted. Reading stdin or a pipe waits for as long as whoever writes it.
// There is deliberately no way to pass a secret as an argument.
func ReadSecret(file, value string, stdin io.Reader) (string, error) {
	if file == "" {
		if strings.TrimSpace(value) == "" {
			return "", ErrNoSecret
		}
		return readSecret(strings.NewReader(value), "the environment's value")
	}
	if file == "-" {
		return readSecret(stdin, "standard input")
	}
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer f.Close()
	return readSecret(f, file)
}

func readSecret(r io.Reader, from string) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSecretBytes+1))
	if err != nil {
		return "", fmt.Errorf("read secret from %s: %w", from, err)
	}
	if len(b) > MaxSecretBytes {
		return "", fmt.Errorf("read secret from %s: over %d bytes: is it the right file?", from, MaxSecretBytes)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", fmt.Errorf("read secret from %s: it is empty", from)
	}
	return s, nil
}
