package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"fmt"
	"io"
)

// ErrSealed means that something sealed did not open: another key, another name or
// purpose, or it was changed.
var ErrSealed = errors.New("sealed value does not open with this key")

// DataKey is the key under which secrets are sealed in the replicated state. A
// process holds it in memory; on disk it exists only wrapped.
type DataKey [32]byte

// NewDataKey draws a key from random, which must be a cryptographic source.
func NewDataKey(random io.Reader) (DataKey, error) {
	var dk DataKey
	if _, err := io.ReadFull(random, dk[:]); err != nil {
		return DataKey{}, fmt.Errorf("draw data key: %w", err)
	}
	return dk, nil
}

// Format implements fmt.Formatter without the key.
func (dk DataKey) Format(f fmt.State, _ rune) { redact(f, "DataKey") }

// MarshalText implements encoding.TextMarshaler by refusing: a data key leaves a
// process wrapped, by Wrap.
func (dk DataKey) MarshalText() ([]byte, error) {
	return nil, errors.New("a data key is not to be encoded: wrap it")
}

// Seal encrypts plain with AES-256-GCM under a fresh 96-bit nonce from random and
// returns nonce || ciphertext. It opens under the same name only, so that sealed
// values cannot be swapped. One key must not seal over 2^32 values (NIST SP
// 800-38D, 8.3).
func (dk DataKey) Seal(random io.Reader, name string, plain []byte) ([]byte, error) {
	aead, err := dk.aead()
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("seal %s: draw nonce: %w", name, err)
	}
	return aead.Seal(nonce, nonce, plain, []byte(name)), nil
}

// Open decrypts what Seal made under the same name. Its error is ErrSealed.
func (dk DataKey) Open(name string, sealed []byte) ([]byte, error) {
	aead, err := dk.aead()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if len(sealed) < aead.NonceSize()+aead.Overhead() {
		return nil, fmt.Errorf("open %s: %d bytes are too few: %w", name, len(sealed), ErrSealed)
	}
	nonce, ct := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, ct, []byte(name))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, ErrSealed)
	}
	return plain, nil
}

func (dk DataKey) aead() (cipher.AEAD, error) {
	if dk == (DataKey{}) {
		return nil, errors.New("the data key is zero: it was never drawn or unwrapped")
	}
	block, err := aes.NewCipher(dk[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// SealKey is a server's own key, to which data keys are wrapped: X25519. It is
// immutable. The zero SealKey opens nothing.
type SealKey struct{ secret func() *ecdh.PrivateKey } // a function, as in hidden

func sealKeyOf(key *ecdh.PrivateKey) SealKey {
	return SealKey{func() *ecdh.PrivateKey { return key }}
}

// key is nil in the zero SealKey.
func (k SealKey) key() *ecdh.PrivateKey {
	if k.secret == nil {
		return nil
	}
	return k.secret()
}

// NewSealKey draws a key from random, which must be a cryptographic source.
func NewSealKey(random io.Reader) (SealKey, error) {
	seed := make([]byte, 32)
	if _, err := io.ReadFull(random, seed); err != nil {
		return SealKey{}, fmt.Errorf("draw seal key: %w", err)
	}
	return sealKeyFrom(seed)
}

func sealKeyFrom(seed []byte) (SealKey, error) {
	key, err := ecdh.X25519().NewPrivateKey(seed)
	if err != nil {
		return SealKey{}, fmt.Errorf("make seal key: %w", err)
	}
	return sealKeyOf(key), nil
}

// Public is the half that others seal to, 32 bytes; nil for the zero SealKey.
func (k SealKey) Public() []byte {
	if key := k.key(); key != nil {
		return key.PublicKey().Bytes()
	}
	return nil
}

// Format implements fmt.Formatter without the key.
func (k SealKey) Format(f fmt.State, _ rune) { redact(f, "SealKey") }

// Wrap seals a data key to the holder of a SealKey's public half. info says what
// the copy is for and must be the same to unwrap.
func Wrap(pub []byte, dk DataKey, info string) ([]byte, error) {
	if dk == (DataKey{}) {
		return nil, errors.New("wrap data key: the key is zero")
	}
	sealed, err := sealTo(pub, wrapDomain+info, dk[:])
	if err != nil {
		return nil, fmt.Errorf("wrap data key: %w", err)
	}
	return sealed, nil
}

// Unwrap opens what Wrap made for this key with the same info. Its error is
// ErrSealed.
func (k SealKey) Unwrap(wrapped []byte, info string) (DataKey, error) {
	plain, err := k.open(wrapDomain+info, wrapped)
	if err != nil {
		return DataKey{}, fmt.Errorf("unwrap data key: %w", err)
	}
	if len(plain) != len(DataKey{}) {
		return DataKey{}, fmt.Errorf("unwrap data key: %d bytes: %w", len(plain), ErrSealed)
	}
	return DataKey(plain), nil
}

// The suite of RFC 9180 for every use here: DHKEM(X25519, HKDF-SHA256),
// HKDF-SHA256, AES-256-GCM. The domain in front of info names the suite too, so
// that another one may follow.
const (
	wrapDomain     = "usher/data-key/1 "
	recoveryDomain = "usher/recovery/1 "
)

// sealTo returns the encapsulated key followed by the ciphertext.
func sealTo(pub []byte, info string, plain []byte) ([]byte, error) {
	pk, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return hpke.Seal(pk, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), plain)
}

func (k SealKey) open(info string, sealed []byte) ([]byte, error) {
	if k.key() == nil {
		return nil, fmt.Errorf("there is no key: %w", ErrSealed)
	}
	key, err := hpke.NewDHKEMPrivateKey(k.key())
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(info), sealed)
	if err != nil {
		return nil, ErrSealed
	}
	return plain, nil
}
