package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

const (
	pemKey  = "PRIVATE KEY"
	pemCert = "CERTIFICATE"
)

// pemPrivate encodes an ECDSA or X25519 key as PKCS #8, which openssl reads too.
func pemPrivate(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: der}), nil
}

func pemCerts(chain [][]byte) []byte {
	var b bytes.Buffer
	for _, der := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: der}))
	}
	return b.Bytes()
}

// parsePEM returns the contents of the blocks, which must all be of one type. What
// is left over is damage: a truncated file must not pass for a shorter one.
func parsePEM(text []byte, blockType string) ([][]byte, error) {
	var out [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != blockType {
			return nil, fmt.Errorf("it holds a PEM block %q where %q belongs", block.Type, blockType)
		}
		out, text = append(out, block.Bytes), rest
	}
	if len(out) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, fmt.Errorf("it is not a whole PEM file of type %q", blockType)
	}
	return out, nil
}

func parseNodeKey(text []byte) (crypto.Signer, error) {
	blocks, err := parsePEM(text, pemKey)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(blocks[0])
	if err != nil {
		return nil, err
	}
	return key, nil
}

func parseSealKey(text []byte) (SealKey, error) {
	blocks, err := parsePEM(text, pemKey)
	if err != nil {
		return SealKey{}, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blocks[0])
	if err != nil {
		return SealKey{}, err
	}
	key, ok := parsed.(*ecdh.PrivateKey)
	if !ok || key.Curve() != ecdh.X25519() {
		return SealKey{}, errors.New("it is not an X25519 key")
	}
	return sealKeyOf(key), nil
}
