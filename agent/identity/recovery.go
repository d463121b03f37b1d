package identity

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Why a text is not a recovery key.
var (
	ErrRecoveryForm     = errors.New("not a recovery key")
	ErrRecoveryCheckSum = errors.New("the recovery key's check sum is wrong")
)

const (
	recoverySeedLen  = 32
	recoverySumLen   = 5 // fills 12 groups of 5 exactly
	recoveryGroup    = 5
	recoveryChars    = 60
	recoveryGroups   = recoveryChars / recoveryGroup
	recoveryMaxInput = 1 << 10
)

// RecoveryKey opens snapshots when no server is left that could. It is printed
// once, when the cluster is made; its public half stays in the state. It is
// immutable. The zero RecoveryKey opens nothing.
type RecoveryKey struct {
	seed hidden
	key  SealKey
}

// NewRecoveryKey draws a key from random, which must be a cryptographic source.
func NewRecoveryKey(random io.Reader) (RecoveryKey, error) {
	seed := make([]byte, recoverySeedLen)
	if _, err := io.ReadFull(random, seed); err != nil {
		return RecoveryKey{}, fmt.Errorf("draw recovery key: %w", err)
	}
	return recoveryKeyFrom(seed)
}

func recoveryKeyFrom(seed []byte) (RecoveryKey, error) {
	key, err := sealKeyFrom(seed)
	if err != nil {
		return RecoveryKey{}, fmt.Errorf("make recovery key: %w", err)
	}
	return RecoveryKey{seed: hide(seed), key: key}, nil
}

// ParseRecoveryKey reads what Reveal printed, as people type it from paper: case,
// white space and the dashes between groups do not matter, and 0 and 8, which never
// occur, are read as the letters they resemble.
func ParseRecoveryKey(text string) (RecoveryKey, error) {
	chars, err := recoveryText(text)
	if err != nil {
		return RecoveryKey{}, err
	}
	raw, err := base32Lower().DecodeString(chars)
	if err != nil {
		return RecoveryKey{}, fmt.Errorf("%w: it cannot be decoded", ErrRecoveryForm)
	}
	seed, sum := raw[:recoverySeedLen], raw[recoverySeedLen:]
	// The second half refuses spare bits in the last character, which base32
	// would ignore.
	if !bytes.Equal(sum, recoverySum(seed)) || base32Lower().EncodeToString(raw) != chars {
		return RecoveryKey{}, fmt.Errorf("%w: at least one character differs: compare it with the print", ErrRecoveryCheckSum)
	}
	return recoveryKeyFrom(seed)
}

// recoveryText keeps the 60 characters that count.
func recoveryText(text string) (string, error) {
	if len(text) > recoveryMaxInput {
		return "", fmt.Errorf("%w: it is over %d bytes long", ErrRecoveryForm, recoveryMaxInput)
	}
	if t := strings.TrimSpace(text); strings.HasPrefix(t, joinPrefix) || strings.HasPrefix(t, apiPrefix) {
		return "", fmt.Errorf("%w: this is a token; a recovery key is %d groups of %d characters", ErrRecoveryForm, recoveryGroups, recoveryGroup)
	}
	clean := strings.NewReplacer("-", "", " ", "", "\t", "", "\r", "", "\n", "", "0", "o", "8", "b").
		Replace(strings.ToLower(text))
	for i, c := range clean {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return "", fmt.Errorf("%w: %q in group %d never occurs in one", ErrRecoveryForm, c, i/recoveryGroup+1)
		}
	}
	if len(clean) != recoveryChars {
		return "", fmt.Errorf("%w: it has %d of %d characters", ErrRecoveryForm, len(clean), recoveryChars)
	}
	return clean, nil
}

// Reveal is the key as it is printed for people to keep: 12 groups of 5 characters
// with dashes between them, a check sum at the end.
func (k RecoveryKey) Reveal() string {
	if k.seed == nil {
		return ""
	}
	chars := base32Lower().EncodeToString(append(bytes.Clone(k.seed.bytes()), recoverySum(k.seed.bytes())...))
	var groups []string
	for len(chars) > 0 {
		n := min(recoveryGroup, len(chars))
		groups, chars = append(groups, chars[:n]), chars[n:]
	}
	return strings.Join(groups, "-")
}

// Format implements fmt.Formatter without the key.
func (k RecoveryKey) Format(f fmt.State, _ rune) { redact(f, "RecoveryKey") }

// Public is the half that stays in the state, 32 bytes; nil for the zero key.
func (k RecoveryKey) Public() []byte { return k.key.Public() }

// SealTo seals plain to the holder of the recovery key with the given public half
// (HPKE, RFC 9180). info says what it is and must be the same to open it.
func SealTo(pub []byte, info string, plain []byte) ([]byte, error) {
	sealed, err := sealTo(pub, recoveryDomain+info, plain)
	if err != nil {
		return nil, fmt.Errorf("seal to the recovery key: %w", err)
	}
	return sealed, nil
}

// Open decrypts what SealTo made for this key with the same info. Its error is
// ErrSealed.
func (k RecoveryKey) Open(info string, sealed []byte) ([]byte, error) {
	plain, err := k.key.open(recoveryDomain+info, sealed)
	if err != nil {
		return nil, fmt.Errorf("open with the recovery key: %w", err)
	}
	return plain, nil
}

func recoverySum(seed []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, "usher recovery key check sum\x00")
	_, _ = h.Write(seed)
	return h.Sum(nil)[:recoverySumLen]
}
