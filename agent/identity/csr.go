package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"

	"github.com/ushercluster/usher/agent/peer"
)

// newCSR asks for a certificate for key: PKCS #10, DER. The ID in it is for people
// who look at it; Issue takes the name from elsewhere.
func newCSR(key crypto.Signer, id peer.ID) ([]byte, error) {
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: string(id)}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// csrKey returns the public key of a request whose signature proves that the asker
// holds the private one. The kind of key is looked at first: verifying a huge RSA
// key would cost us more than it costs the asker.
func csrKey(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > MaxCSRBytes {
		return nil, fmt.Errorf("certificate request of %d bytes: at most %d", len(der), MaxCSRBytes)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate request: %w", err)
	}
	pub, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, errors.New("certificate request: the key is not ECDSA P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request's signature: %w", err)
	}
	return pub, nil
}

// keyHash is the SHA-256 of a public key's SubjectPublicKeyInfo: what tells one
// machine's requests from another's, and a token's uses apart.
func keyHash(pub crypto.PublicKey) ([32]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return [32]byte{}, fmt.Errorf("encode public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// parseKey reads a P-256 private key in PKCS #8.
func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	any, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := any.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("not an ECDSA P-256 key")
	}
	return key, nil
}
