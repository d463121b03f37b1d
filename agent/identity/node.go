package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// Node is all that makes a process a node of a cluster. It is immutable: what its
// slices hold is never changed.
type Node struct {
	Identity    transport.Identity
	ClusterName string // at the cluster's founding, as the CA's certificate has it
	Key         crypto.Signer
	Chain       [][]byte            // DER: the leaf first, the CA last
	Roots       []*x509.Certificate // CAs that are trusted; one of them ends Chain
	SealKey     SealKey
}

// TLSCertificate is what the cluster port presents: leaf and CA, so that a joiner
// can compare the CA with its token.
func (n Node) TLSCertificate() tls.Certificate {
	leaf, err := n.Leaf()
	if err != nil {
		leaf = nil // crypto/tls parses it itself, and says what is wrong
	}
	return tls.Certificate{Certificate: n.Chain, PrivateKey: n.Key, Leaf: leaf}
}

// Leaf is the node's own certificate.
func (n Node) Leaf() (*x509.Certificate, error) {
	if len(n.Chain) == 0 {
		return nil, errors.New("the certificate chain is empty")
	}
	leaf, err := x509.ParseCertificate(n.Chain[0])
	if err != nil {
		return nil, fmt.Errorf("parse node certificate: %w", err)
	}
	return leaf, nil
}

// KeyHash is the SHA-256 of the node's public key (SubjectPublicKeyInfo), the same
// that JoinRequest.KeyHash gives.
func (n Node) KeyHash() ([32]byte, error) { return keyHash(n.Key.Public()) }

// Pending is the request that renews the node's certificate: the same ID and keys.
func (n Node) Pending() Pending {
	return Pending{ID: n.Identity.ID, Key: n.Key, SealKey: n.SealKey}
}

// Format implements fmt.Formatter without the keys.
func (n Node) Format(f fmt.State, _ rune) { redact(f, "Node "+n.Identity.URI().String()) }

// Pending is a node without a certificate: what is on disk before anything is sent,
// so that every repeat asks for the same thing.
type Pending struct {
	ID      peer.ID
	Key     crypto.Signer
	SealKey SealKey
	TokenID string    // the join token that is asked with; "" for a founder
	Since   time.Time // of the first preparation with that token
}

// CSR is a certificate request for the key (PKCS #10, DER).
func (p Pending) CSR() ([]byte, error) { return newCSR(p.Key, p.ID) }

// KeyHash is the SHA-256 of the public key (SubjectPublicKeyInfo).
func (p Pending) KeyHash() ([32]byte, error) { return keyHash(p.Key.Public()) }

// Format implements fmt.Formatter without the keys.
func (p Pending) Format(f fmt.State, _ rune) { redact(f, "Pending "+string(p.ID)) }

// Node puts a node together from what was asked and what came back: chain is the
// leaf, then the CA; roots are the CAs to trust; all in DER. It refuses a
// certificate for another key or ID, and one that no CA of roots vouches for.
// Times of validity are not looked at.
func (p Pending) Node(chain, roots [][]byte) (Node, error) {
	n := Node{Key: p.Key, SealKey: p.SealKey, Chain: slices.Clone(chain)}
	for _, der := range roots {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return Node{}, fmt.Errorf("parse ca certificate: %w", err)
		}
		n.Roots = append(n.Roots, root)
	}
	leaf, err := n.Leaf()
	if err != nil {
		return Node{}, err
	}
	if n.Identity, err = transport.IdentityOf(leaf); err != nil {
		return Node{}, err
	}
	if n.Identity.ID != p.ID {
		return Node{}, fmt.Errorf("the certificate is for node %s, and this is %s", n.Identity.ID, p.ID)
	}
	ca, err := n.check()
	if err != nil {
		return Node{}, err
	}
	n.ClusterName = caName(ca)
	return n, nil
}

// check reports whether the parts of a node belong together, and returns its CA.
func (n Node) check() (*x509.Certificate, error) {
	leaf, err := n.Leaf()
	if err != nil {
		return nil, err
	}
	if n.Key == nil || n.SealKey.key() == nil {
		return nil, errors.New("the node has no key")
	}
	pub, ok := leaf.PublicKey.(*ecdsa.PublicKey)
	if !ok || !pub.Equal(n.Key.Public()) {
		return nil, errors.New("the certificate is for another key")
	}
	id, err := transport.IdentityOf(leaf)
	if err != nil {
		return nil, err
	}
	if id != n.Identity {
		return nil, fmt.Errorf("the certificate says %s, and the node is %s", id.URI(), n.Identity.URI())
	}
	last := n.Chain[len(n.Chain)-1]
	i := slices.IndexFunc(n.Roots, func(c *x509.Certificate) bool { return bytes.Equal(c.Raw, last) })
	if i < 0 {
		return nil, fmt.Errorf("the chain ends in a CA (SHA-256 %x) that is not trusted", sha256.Sum256(last))
	}
	for _, root := range n.Roots {
		if cluster, err := caCluster(root); err != nil {
			return nil, err
		} else if cluster != id.Cluster {
			return nil, fmt.Errorf("a trusted CA is of cluster %s, the node of %s", cluster, id.Cluster)
		}
	}
	// Any moment within the leaf's life will do: an expired node must still be
	// able to say who it is, and to ask for a new certificate.
	if err := verifyLeaf(leaf, n.Roots[i], leaf.NotAfter); err != nil {
		return nil, err
	}
	return n.Roots[i], nil
}

// verifyLeaf checks a node certificate against exactly one CA: signature, times,
// use, name constraints, and that both speak of the same cluster.
func verifyLeaf(leaf, ca *x509.Certificate, now time.Time) error {
	cluster, err := caCluster(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = leaf.Verify(x509.VerifyOptions{
		DNSName:     cluster + ".usher",
		Roots:       roots,
		CurrentTime: now,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify node certificate: %w", err)
	}
	id, err := transport.IdentityOf(leaf)
	if err != nil {
		return err
	}
	if id.Cluster != cluster {
		return fmt.Errorf("verify node certificate: it is of cluster %s, its CA of %s", id.Cluster, cluster)
	}
	return nil
}
