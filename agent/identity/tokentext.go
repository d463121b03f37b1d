package identity

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Why a text is not a token. ParseJoinToken and ParseAPIToken wrap one of these in
// a sentence for people that never shows the secret.
var (
	ErrTokenKind      = errors.New("not the right kind of token")
	ErrTokenTruncated = errors.New("the token is truncated")
	ErrTokenForm      = errors.New("the token is malformed")
	ErrTokenCheckSum  = errors.New("the token's check sum is wrong")
)

const (
	tokenIDLen  = 8 // base32 characters, 40 bits
	checkSumLen = 4

	joinPrefix = "ushj_"
	apiPrefix  = "usht_"

	checkSumDomain = "usher token check sum\x00"
	hashDomain     = "usher token secret\x00"
)

// tokenKind is how one kind of token is written:
//
//	PREFIX_ID_PAYLOAD    payload = base32(body || check sum)
//
// The check sum covers the prefix, the ID and the body. It tells a bad paste from
// a token that the cluster does not know; it protects against nothing else.
type tokenKind struct {
	name   string // with its article
	prefix string // with its underscore
	body   int    // bytes
}

// base32Lower is RFC 4648 in lower case, as in node IDs: nothing in it is special
// to shells, URLs or a double click.
func base32Lower() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

func (k tokenKind) length() int {
	return len(k.prefix) + tokenIDLen + 1 + base32Lower().EncodedLen(k.body+checkSumLen)
}

func (k tokenKind) encode(id string, body []byte) string {
	head := k.prefix + id + "_"
	payload := append(bytes.Clone(body), checkSum(head, body)...)
	return head + base32Lower().EncodeToString(payload)
}

// parse is strict: exactly one text stands for a token. White space around it is
// the paste's, not the token's.
func (k tokenKind) parse(text string) (id string, body []byte, err error) {
	text = strings.TrimSpace(text)
	if err := k.checkForm(text); err != nil {
		return "", nil, err
	}
	head := text[:len(k.prefix)+tokenIDLen+1]
	id = head[len(k.prefix) : len(head)-1]
	payload, err := base32Lower().DecodeString(text[len(head):])
	if err != nil || !validTokenID(id) || head[len(head)-1] != '_' {
		return "", nil, fmt.Errorf("%w: %s is %sID_PAYLOAD in the characters a-z and 2-7: copy it again", ErrTokenForm, k.name, k.prefix)
	}
	body, sum := payload[:k.body], payload[k.body:]
	// The second half refuses spare bits in the last character, which base32
	// would ignore.
	if !bytes.Equal(sum, checkSum(head, body)) || k.encode(id, body) != text {
		return "", nil, fmt.Errorf("%w: at least one character of it was changed: copy it again", ErrTokenCheckSum)
	}
	return id, body, nil
}

// checkForm looks at prefix and length.
func (k tokenKind) checkForm(text string) error {
	want := k.length()
	for _, other := range []tokenKind{joinKind(), apiKind()} {
		if other.prefix != k.prefix && strings.HasPrefix(text, other.prefix) {
			return fmt.Errorf("%w: this is %s, and %s is needed, which begins with %q", ErrTokenKind, other.name, k.name, k.prefix)
		}
	}
	switch {
	case text == "":
		return fmt.Errorf("%w: it is empty, and %s is needed, which begins with %q", ErrTokenTruncated, k.name, k.prefix)
	case strings.HasPrefix(k.prefix, text):
		return fmt.Errorf("%w: it has %d of %d characters: copy it again", ErrTokenTruncated, len(text), want)
	case !strings.HasPrefix(text, k.prefix):
		return fmt.Errorf("%w: %s begins with %q", ErrTokenKind, k.name, k.prefix)
	case strings.ContainsAny(text, " \t\r\n"):
		return fmt.Errorf("%w: there is white space inside it: copy it as one line", ErrTokenForm)
	case len(text) < want:
		return fmt.Errorf("%w: it has %d of %d characters: copy it again", ErrTokenTruncated, len(text), want)
	case len(text) > want:
		return fmt.Errorf("%w: it has %d characters and should have %d: was something pasted after it?", ErrTokenForm, len(text), want)
	}
	return nil
}

func checkSum(head string, body []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, checkSumDomain+head)
	_, _ = h.Write(body)
	return h.Sum(nil)[:checkSumLen]
}

func newTokenID(random io.Reader) (string, error) {
	var b [tokenIDLen * 5 / 8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw token id: %w", err)
	}
	return base32Lower().EncodeToString(b[:]), nil
}

func validTokenID(id string) bool {
	if len(id) != tokenIDLen {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// hashSecret is what the cluster keeps of a secret. The secrets are 160 random bits
// and more, so there is nothing to guess and no need for a slow key derivation
// function; the domain keeps the hash from meaning anything elsewhere.
func hashSecret(kind string, secret []byte) [32]byte {
	h := sha256.New()
	_, _ = io.WriteString(h, hashDomain+kind+"\x00")
	_, _ = h.Write(secret)
	return [32]byte(h.Sum(nil))
}
