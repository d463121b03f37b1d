package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
)

const (
	joinSecretLen = 20
	apiSecretLen  = 24
)

func joinKind() tokenKind {
	return tokenKind{name: "a join token", prefix: joinPrefix, body: joinSecretLen + sha256.Size}
}

func apiKind() tokenKind {
	return tokenKind{name: "an API token", prefix: apiPrefix, body: apiSecretLen}
}

// JoinToken lets a machine join: it proves the machine to the cluster by a secret,
// and the cluster to the machine by the SHA-256 of its CA's certificate. It is
// immutable. The zero JoinToken is no token and matches nothing.
type JoinToken struct {
	id     string
	secret hidden
	ca     [32]byte
}

// NewJoinToken draws a token from random, which must be a cryptographic source, for
// the cluster whose CA has the fingerprint.
func NewJoinToken(random io.Reader, fingerprint [32]byte) (JoinToken, error) {
	id, secret, err := drawToken(random, joinSecretLen)
	if err != nil {
		return JoinToken{}, fmt.Errorf("make join token: %w", err)
	}
	return JoinToken{id: id, secret: secret, ca: fingerprint}, nil
}

// ParseJoinToken reads what Reveal wrote; white space around it is ignored. Its
// errors are one of the ErrToken kinds, in a sentence without the secret.
func ParseJoinToken(text string) (JoinToken, error) {
	id, body, err := joinKind().parse(text)
	if err != nil {
		return JoinToken{}, fmt.Errorf("join token: %w", err)
	}
	return JoinToken{id: id, secret: hide(body[:joinSecretLen]), ca: [32]byte(body[joinSecretLen:])}, nil
}

// ID names the token; it is no secret.
func (t JoinToken) ID() string { return t.id }

// Fingerprint is the SHA-256 of the CA certificate of the token's cluster.
func (t JoinToken) Fingerprint() [32]byte { return t.ca }

// Hash is what the cluster keeps: SHA-256 of the secret in a domain of its own. A
// plain hash will do, because the secret is 160 random bits.
func (t JoinToken) Hash() [32]byte { return hashSecret(joinPrefix, t.secret.bytes()) }

// MatchHash reports in constant time whether hash is the token's Hash.
func (t JoinToken) MatchHash(hash []byte) bool {
	return matchSecret(joinPrefix, t.secret.bytes(), hash)
}

// Reveal is the whole token, secret included, as people hand it on.
func (t JoinToken) Reveal() string {
	if t.secret == nil {
		return ""
	}
	return joinKind().encode(t.id, append(append([]byte(nil), t.secret.bytes()...), t.ca[:]...))
}

// String is the token without its secret.
func (t JoinToken) String() string { return joinPrefix + t.id + "_..." }

// Format implements fmt.Formatter: every verb prints String.
func (t JoinToken) Format(f fmt.State, _ rune) { redact(f, t.String()) }

// APIToken lets a person or a program use the admin API. It is immutable. The zero
// APIToken is no token and matches nothing.
type APIToken struct {
	id     string
	secret hidden
}

// NewAPIToken draws a token from random, which must be a cryptographic source.
func NewAPIToken(random io.Reader) (APIToken, error) {
	id, secret, err := drawToken(random, apiSecretLen)
	if err != nil {
		return APIToken{}, fmt.Errorf("make api token: %w", err)
	}
	return APIToken{id: id, secret: secret}, nil
}

// ParseAPIToken reads what Reveal wrote, as ParseJoinToken does.
func ParseAPIToken(text string) (APIToken, error) {
	id, body, err := apiKind().parse(text)
	if err != nil {
		return APIToken{}, fmt.Errorf("api token: %w", err)
	}
	return APIToken{id: id, secret: hide(body)}, nil
}

// ID names the token; it is no secret.
func (t APIToken) ID() string { return t.id }

// Hash is what the cluster keeps: SHA-256 of the secret in a domain of its own. A
// plain hash will do, because the secret is 192 random bits.
func (t APIToken) Hash() [32]byte { return hashSecret(apiPrefix, t.secret.bytes()) }

// MatchHash reports in constant time whether hash is the token's Hash.
func (t APIToken) MatchHash(hash []byte) bool {
	return matchSecret(apiPrefix, t.secret.bytes(), hash)
}

// Reveal is the whole token, secret included, as people keep it.
func (t APIToken) Reveal() string {
	if t.secret == nil {
		return ""
	}
	return apiKind().encode(t.id, t.secret.bytes())
}

// String is the token without its secret.
func (t APIToken) String() string { return apiPrefix + t.id + "_..." }

// Format implements fmt.Formatter: every verb prints String.
func (t APIToken) Format(f fmt.State, _ rune) { redact(f, t.String()) }

func drawToken(random io.Reader, secretLen int) (string, hidden, error) {
	id, err := newTokenID(random)
	if err != nil {
		return "", nil, err
	}
	secret := make([]byte, secretLen)
	if _, err := io.ReadFull(random, secret); err != nil {
		return "", nil, fmt.Errorf("draw secret: %w", err)
	}
	return id, hide(secret), nil
}

// matchSecret compares in constant time; no secret matches nothing.
func matchSecret(kind string, secret, hash []byte) bool {
	if len(secret) == 0 {
		return false
	}
	h := hashSecret(kind, secret)
	return subtle.ConstantTimeCompare(h[:], hash) == 1
}
