package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// describe lists everything in a certificate that is not drawn at random.
func describe(c *x509.Certificate) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "subject      %s\nissuer       %s\n", c.Subject, c.Issuer)
	fmt.Fprintf(&b, "valid        %s to %s\n", c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339))
	fmt.Fprintf(&b, "key          %s, signed %s\n", c.PublicKeyAlgorithm, c.SignatureAlgorithm)
	fmt.Fprintf(&b, "ca           %v, path length %d (zero set %v)\n", c.IsCA, c.MaxPathLen, c.MaxPathLenZero)
	fmt.Fprintf(&b, "key usage    %09b\next usage    %v\n", c.KeyUsage, c.ExtKeyUsage)
	fmt.Fprintf(&b, "dns          %s\nuri          %s\n", c.DNSNames, c.URIs)
	fmt.Fprintf(&b, "email, ip    %s %s\n", c.EmailAddresses, c.IPAddresses)
	fmt.Fprintf(&b, "constraints  critical %v, dns %s, uri %s\n", c.PermittedDNSDomainsCritical, c.PermittedDNSDomains, c.PermittedURIDomains)
	return b.String()
}

func TestCertificatesGolden(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	n := testNode(t, ca, testPending(t, testID), peer.ClassServer, testTime())
	leaf, err := n.Leaf()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "certificates.golden", []byte("CA\n"+describe(n.Roots[0])+"\nnode\n"+describe(leaf)))
	if bits := leaf.SerialNumber.BitLen(); bits > 128 || bits < 64 {
		t.Errorf("serial has %d bits", bits)
	}
	if again := testNode(t, ca, testPending(t, testID), peer.ClassServer, testTime()); bytes.Equal(again.Chain[0], n.Chain[0]) {
		t.Error("two certificates are equal")
	}
}

func TestParseCA(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	back, err := ParseCA(ca.CertDER(), ca.KeyDER())
	if err != nil {
		t.Fatal(err)
	}
	if back.Fingerprint() != ca.Fingerprint() || back.Cluster() != testCluster {
		t.Errorf("got %x of %s", back.Fingerprint(), back.Cluster())
	}
	n := testNode(t, ca, testPending(t, testID), peer.ClassServer, testTime())
	other := testCA(t, testCluster, "paris", testTime())
	for name, c := range map[string][2][]byte{
		"another key":        {ca.CertDER(), other.KeyDER()},
		"damaged key":        {ca.CertDER(), ca.KeyDER()[1:]},
		"damaged":            {ca.CertDER()[1:], ca.KeyDER()},
		"a node certificate": {n.Chain[0], ca.KeyDER()},
		"nothing":            {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseCA(c[0], c[1]); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestNewCARefusesNames(t *testing.T) {
	for _, c := range [][2]string{{"not-a-uuid", "paris"}, {strings.ToUpper(testCluster), "paris"}, {testCluster, ""}, {testCluster, "a b"}, {testCluster, strings.Repeat("a", 64)}} {
		if _, err := NewCA(c[0], c[1], testTime()); err == nil {
			t.Errorf("NewCA(%q, %q) accepted", c[0], c[1])
		}
	}
}

func TestIssueTakesOnlyTheKey(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	p := testPending(t, testID)
	evil, _ := url.Parse("usher://" + testCluster + "/server/zzzzzzzzzzzzzzzz")
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "root"},
		DNSNames: []string{"bank.example"}, URIs: []*url.URL{evil},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}},
	}, p.Key)
	if err != nil {
		t.Fatal(err)
	}
	id := transport.Identity{Cluster: testCluster, Class: peer.ClassEdge, ID: testID}
	der, err := ca.Issue(csr, id, testTime(), year)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	got, err := transport.IdentityOf(leaf)
	if err != nil || got != id {
		t.Errorf("identity %v, %v", got, err)
	}
	if diff := cmp.Diff(id.DNSNames(), leaf.DNSNames); diff != "" || leaf.IsCA {
		t.Errorf("CA %v, names:\n%s", leaf.IsCA, diff)
	}
}

func TestIssueNeverOutlivesTheCA(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	csr, err := testPending(t, testID).CSR()
	if err != nil {
		t.Fatal(err)
	}
	id := transport.Identity{Cluster: testCluster, Class: peer.ClassServer, ID: testID}
	der, err := ca.Issue(csr, id, testTime().AddDate(19, 11, 0), year)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if want := testTime().AddDate(20, 0, 0); !leaf.NotAfter.Equal(want) {
		t.Errorf("ends %s, the CA %s", leaf.NotAfter, want)
	}
	if _, err := ca.Issue(csr, id, testTime().AddDate(20, 0, 0), year); err == nil {
		t.Error("an expired CA signed")
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	good, err := testPending(t, testID).CSR()
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	id := transport.Identity{Cluster: testCluster, Class: peer.ClassServer, ID: testID}
	with := func(change func(*transport.Identity)) transport.Identity { i := id; change(&i); return i }
	csrOf := func(key any) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	cases := []struct {
		name string
		csr  []byte
		id   transport.Identity
		life time.Duration
		want string
	}{
		{"forged signature", forged, id, year, "signature"},
		{"garbage", []byte("CSR"), id, year, "parse certificate request"},
		{"too large", make([]byte, MaxCSRBytes+1), id, year, "at most"},
		{"Ed25519", csrOf(edKey), id, year, "not ECDSA P-256"},
		{"P-384", csrOf(p384), id, year, "not ECDSA P-256"},
		{"another cluster", good, with(func(i *transport.Identity) { i.Cluster = otherCluster }), year, "not the ca's"},
		{"malformed id", good, with(func(i *transport.Identity) { i.ID = "x" }), year, "malformed"},
		{"unknown class", good, with(func(i *transport.Identity) { i.Class = "king" }), year, "unknown"},
		{"no time", good, id, 0, "no time"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := ca.Issue(c.csr, c.id, testTime(), c.life)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// The name constraints make a stolen or misused CA key worthless for other
// clusters, whoever checks.
func TestCACannotCertifyOtherClusters(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	p := testPending(t, testID)
	sign := func(id transport.Identity, dns ...string) *x509.Certificate {
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(1), NotBefore: testTime(), NotAfter: testTime().Add(year),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames:    dns, URIs: []*url.URL{id.URI()},
		}, ca.cert, p.Key.Public(), ca.key)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return leaf
	}
	ours := transport.Identity{Cluster: testCluster, Class: peer.ClassServer, ID: testID}
	theirs := transport.Identity{Cluster: otherCluster, Class: peer.ClassServer, ID: testID}
	if err := verifyLeaf(sign(ours, ours.DNSNames()...), ca.cert, testTime()); err != nil {
		t.Errorf("our own: %v", err)
	}
	for name, leaf := range map[string]*x509.Certificate{
		"foreign URI": sign(theirs, ours.DNSNames()...),
		"foreign DNS": sign(ours, append(ours.DNSNames(), "bank.example")...),
		"no DNS":      sign(ours),
	} {
		if err := verifyLeaf(leaf, ca.cert, testTime()); err == nil {
			t.Errorf("%s: verified", name)
		}
	}
}

func TestNewUUID(t *testing.T) {
	for seed := range byte(50) {
		u, err := NewUUID(stream(seed))
		if err != nil || !validUUID(u) || u[14] != '4' || !strings.ContainsRune("89ab", rune(u[19])) {
			t.Errorf("%q, %v", u, err)
		}
	}
	if _, err := NewUUID(strings.NewReader("short")); err == nil {
		t.Error("a short source gave a UUID")
	}
}

func TestParsePEM(t *testing.T) {
	block := string(pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: []byte("body")}))
	cases := []struct {
		name, text string
		blocks     int
	}{
		{"one", block, 1},
		{"two", block + block, 2},
		{"second cut short", block + block[:len(block)-5], 0},
		{"trailing text", block + "x", 0},
		{"other type", strings.ReplaceAll(block, pemCert, pemKey), 0},
		{"empty", "", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parsePEM([]byte(c.text), pemCert)
			if len(got) != c.blocks || (err == nil) != (c.blocks > 0) {
				t.Errorf("%d blocks, %v", len(got), err)
			}
		})
	}
}
