package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

const (
	caYears    = 20
	backdate   = time.Hour // clocks of machines that join may lag
	caNameHead = "usher CA "

	// MaxCSRBytes bounds a certificate request. One for a P-256 key takes about 250.
	MaxCSRBytes = 4 << 10
)

// CA is the cluster's certificate authority. It can certify names of its own
// cluster only: its certificate says so itself, as critical name constraints (RFC
// 5280, 4.2.1.10). It is immutable and safe for concurrent use.
type CA struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	keyDER []byte
}

// NewCA makes the CA of a new cluster: ECDSA P-256, 20 years. cluster is a UUID,
// name is what people call the cluster at its founding.
func NewCA(cluster, name string, now time.Time) (*CA, error) {
	if !validUUID(cluster) {
		return nil, fmt.Errorf("make ca: cluster %q is not a lower-case UUID", cluster)
	}
	if !peer.ValidName(name) {
		return nil, fmt.Errorf("make ca: cluster name %q: use 1 to 63 characters of a-z, 0-9, '-' and '.'", name)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make ca key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make ca: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: caNameHead + cluster, Organization: []string{name}},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.AddDate(caYears, 0, 0),
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{cluster + ".usher"},
		PermittedURIDomains:         []string{cluster},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign ca certificate: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode ca key: %w", err)
	}
	return ParseCA(der, keyDER)
}

// ParseCA puts a CA together again from what CertDER and KeyDER gave.
func ParseCA(certDER, keyDER []byte) (*CA, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("parse ca certificate: %w", err)
	}
	if _, err := caCluster(cert); err != nil {
		return nil, fmt.Errorf("parse ca certificate: %w", err)
	}
	key, err := parseKey(keyDER)
	if err != nil {
		return nil, fmt.Errorf("parse ca key: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("parse ca: the key is not the one of the certificate")
	}
	return &CA{cert: cert, key: key, keyDER: slices.Clone(keyDER)}, nil
}

// CertDER is the CA's certificate. The caller must not change it.
func (c *CA) CertDER() []byte { return c.cert.Raw }

// KeyDER is the CA's private key in PKCS #8. Outside of a process's memory it
// exists only sealed under a DataKey. The caller must not change it.
func (c *CA) KeyDER() []byte { return c.keyDER }

// Cluster is the UUID of the cluster that the CA certifies for.
func (c *CA) Cluster() string { return strings.TrimPrefix(c.cert.Subject.CommonName, caNameHead) }

// Fingerprint is the SHA-256 of the CA's certificate, as join tokens hold it.
func (c *CA) Fingerprint() [32]byte { return sha256.Sum256(c.cert.Raw) }

// Format implements fmt.Formatter without the key.
func (c *CA) Format(f fmt.State, _ rune) { redact(f, "CA "+c.Cluster()) }

// Issue signs a node certificate for the public key of a certificate request
// (PKCS #10, DER). Nothing else of the request is used: names come from id. The
// certificate is valid from an hour before now, for life, and never outlives the
// CA. It returns the leaf; the chain to present is the leaf, then CertDER.
func (c *CA) Issue(csrDER []byte, id transport.Identity, now time.Time, life time.Duration) ([]byte, error) {
	pub, err := csrKey(csrDER)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if err := c.mayIssue(id, now, life); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	until := now.Add(life)
	if until.After(c.cert.NotAfter) {
		until = c.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: string(id.ID)},
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              id.DNSNames(),
	}
	template.URIs = append(template.URIs, id.URI())
	leaf, err := x509.CreateCertificate(rand.Reader, template, c.cert, pub, c.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	return leaf, nil
}

func (c *CA) mayIssue(id transport.Identity, now time.Time, life time.Duration) error {
	switch {
	case id.Cluster != c.Cluster():
		return fmt.Errorf("cluster %q is not the ca's, %s", id.Cluster, c.Cluster())
	case !id.ID.Valid():
		return fmt.Errorf("node id %q is malformed", id.ID)
	case id.Class != peer.ClassServer && id.Class != peer.ClassEdge:
		return fmt.Errorf("node class %q is unknown", id.Class)
	case life <= 0:
		return fmt.Errorf("a life of %s is no time", life)
	case !now.Before(c.cert.NotAfter):
		return fmt.Errorf("the ca expired at %s", c.cert.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// caCluster returns the UUID of the cluster that a CA certificate was made for.
func caCluster(cert *x509.Certificate) (string, error) {
	cluster, ok := strings.CutPrefix(cert.Subject.CommonName, caNameHead)
	if !ok || !validUUID(cluster) || !cert.BasicConstraintsValid || !cert.IsCA {
		return "", fmt.Errorf("%q is not the certificate of an usher ca", cert.Subject)
	}
	return cluster, nil
}

// caName is the cluster's name at its founding.
func caName(cert *x509.Certificate) string {
	if len(cert.Subject.Organization) == 0 {
		return ""
	}
	return cert.Subject.Organization[0]
}

// newSerial draws 128 bits. RFC 5280 wants a positive number.
func newSerial() (*big.Int, error) {
	var b [16]byte
	for bytes.Equal(b[:], make([]byte, len(b))) {
		if _, err := rand.Read(b[:]); err != nil {
			return nil, fmt.Errorf("draw serial: %w", err)
		}
	}
	return new(big.Int).SetBytes(b[:]), nil
}
