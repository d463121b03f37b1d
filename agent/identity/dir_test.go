package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func testDir(t *testing.T) *Dir {
	t.Helper()
	d, err := OpenDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// founded is a directory that holds a saved node.
func founded(t *testing.T) (*Dir, *CA, Node) {
	t.Helper()
	d, ca := testDir(t), testCA(t, testCluster, "paris", testTime())
	p, err := d.Prepare("abcdefgh", testTime())
	if err != nil {
		t.Fatal(err)
	}
	n := testNode(t, ca, p, peer.ClassServer, testTime())
	if err := d.Save(n); err != nil {
		t.Fatal(err)
	}
	return d, ca, n
}

func names(t *testing.T, d *Dir) []string {
	t.Helper()
	entries, err := os.ReadDir(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func sameNode(a, b Node) bool {
	ah, err1 := a.KeyHash()
	bh, err2 := b.KeyHash()
	return errors.Join(err1, err2) == nil && ah == bh && a.Identity == b.Identity && a.ClusterName == b.ClusterName &&
		cmp.Equal(a.Chain, b.Chain) && cmp.Equal(a.SealKey.Public(), b.SealKey.Public()) &&
		slices.EqualFunc(a.Roots, b.Roots, (*x509.Certificate).Equal)
}

func TestSaveAndLoad(t *testing.T) {
	d, _, n := founded(t)
	back, err := d.Load()
	if err != nil {
		t.Fatal(err)
	}
	if !sameNode(n, back) || back.ClusterName != "paris" {
		t.Error("what was loaded is not what was saved")
	}
	want := []string{fileCA, fileCert, fileID, fileKey, fileSealKey}
	if diff := cmp.Diff(want, names(t, d)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, name := range want {
		info, err := os.Stat(d.file(name))
		if err != nil || looseMode(info.Mode()) {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	cert := back.TLSCertificate()
	if _, err := tls.X509KeyPair(pemCerts(cert.Certificate), mustRead(t, d.file(fileKey))); err != nil || cert.Leaf == nil {
		t.Errorf("TLS certificate: %v", err)
	}
	if _, err := d.Prepare("abcdefgh", testTime()); !errors.Is(err, ErrHasIdentity) {
		t.Errorf("preparing over an identity: %v", err)
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPrepareRepeats(t *testing.T) {
	d := testDir(t)
	if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
		t.Fatalf("empty directory: %v", err)
	}
	first, err := d.Prepare("abcdefgh", testTime())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("prepared only: %v", err)
	}
	// The process dies and comes back.
	d, err = OpenDir(d.Path())
	if err != nil {
		t.Fatal(err)
	}
	again, err := d.Prepare("abcdefgh", testTime().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	h1, _ := first.KeyHash()
	h2, _ := again.KeyHash()
	if first.ID != again.ID || h1 != h2 || !cmp.Equal(first.SealKey.Public(), again.SealKey.Public()) {
		t.Error("a repeat asks for something else")
	}
	if !again.Since.Equal(testTime()) || again.TokenID != "abcdefgh" {
		t.Errorf("since %s with %s", again.Since, again.TokenID)
	}
	other, err := d.Prepare("bbbbbbbb", testTime().Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if other.ID != first.ID || !other.Since.Equal(testTime().Add(2*time.Hour)) {
		t.Errorf("another token: node %s since %s", other.ID, other.Since)
	}
}

// A write that cannot be carried out stands for a crash at that point: whatever
// file is blocked, the directory afterwards holds no identity or a whole one.
func TestSaveCutShort(t *testing.T) {
	block := func(t *testing.T, d *Dir, name string) func() {
		t.Helper()
		dir := d.file(name + tempSuffix)
		if err := os.MkdirAll(filepath.Join(dir, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		return func() { _ = os.RemoveAll(dir) }
	}
	for _, name := range []string{fileID, fileKey, fileSealKey, fileCA, fileCert} {
		t.Run("another identity, "+name, func(t *testing.T) {
			d, ca, _ := founded(t)
			n := testNode(t, ca, testPending(t, "bbbbbbbbbbbbbbbb"), peer.ClassServer, testTime())
			if name == fileCA { // otherwise its content does not change
				ca = testCA(t, testCluster, "paris", testTime())
				n = testNode(t, ca, testPending(t, "bbbbbbbbbbbbbbbb"), peer.ClassServer, testTime())
			}
			unblock := block(t, d, name)
			if err := d.Save(n); err == nil {
				t.Fatal("saved")
			}
			if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
				t.Errorf("a half-finished save loads as: %v", err)
			}
			unblock()
			if err := d.Save(n); err != nil {
				t.Fatal(err)
			}
			if back, err := d.Load(); err != nil || !sameNode(n, back) {
				t.Errorf("after the repeat: %v", err)
			}
		})
	}
	t.Run("renewal", func(t *testing.T) {
		d, ca, old := founded(t)
		n := testNode(t, ca, old.Pending(), peer.ClassServer, testTime().Add(year/2))
		defer block(t, d, fileCert)()
		if err := d.Save(n); err == nil {
			t.Fatal("saved")
		}
		if back, err := d.Load(); err != nil || !sameNode(old, back) {
			t.Errorf("a renewal that failed lost the old certificate: %v", err)
		}
	})
}

func TestLoadDamaged(t *testing.T) {
	ca := testCA(t, testCluster, "paris", testTime())
	stranger := testNode(t, ca, testPending(t, "cccccccccccccccc"), peer.ClassServer, testTime())
	strangerKey, err := pemPrivate(stranger.Key)
	if err != nil {
		t.Fatal(err)
	}
	foreign := testCA(t, otherCluster, "rome", testTime())
	cases := []struct {
		name, file string
		content    []byte // nil removes the file
		says       string
	}{
		{"no key", fileKey, nil, "missing"},
		{"no id", fileID, nil, "missing"},
		{"no ca", fileCA, nil, "missing"},
		{"no seal key", fileSealKey, nil, "missing"},
		{"key empty", fileKey, []byte{}, "PEM"},
		{"key of another type", fileKey, pemCerts([][]byte{{1}}), "PEM"},
		{"another key", fileKey, strangerKey, "another key"},
		{"node key as seal key", fileSealKey, strangerKey, "X25519"},
		{"certificate torn", fileCert, pemCerts(stranger.Chain)[:900], "PEM"},
		{"certificate empty", fileCert, []byte{}, "PEM"},
		{"certificate zeroed", fileCert, make([]byte, 1000), "PEM"},
		{"another node's certificate", fileCert, pemCerts(stranger.Chain), "cccccccccccccccc"},
		{"another id", fileID, []byte("bbbbbbbbbbbbbbbb\n"), "bbbbbbbbbbbbbbbb"},
		{"id malformed", fileID, []byte("me"), "not a node ID"},
		{"another ca", fileCA, pemCerts([][]byte{ca.CertDER()}), "not trusted"},
		{"foreign ca", fileCA, pemCerts([][]byte{foreign.CertDER()}), "not trusted"},
		{"too large", fileCA, make([]byte, maxFileBytes+1), "over"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			d, _, _ := founded(t)
			if err := os.Remove(d.file(c.file)); err != nil {
				t.Fatal(err)
			}
			if c.content != nil {
				if err := os.WriteFile(d.file(c.file), c.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := d.Load()
			damaged, ok := errors.AsType[*FileError](err)
			if !ok || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, want a FileError that says %q", err, c.says)
			}
			if named := filepath.Base(damaged.Path); named != c.file && named != fileCert {
				t.Errorf("%s is blamed", named)
			}
		})
	}
}

func TestSaveRefusesMixtures(t *testing.T) {
	d, _, n := founded(t)
	other := testPending(t, testID)
	foreign := testNode(t, testCA(t, otherCluster, "rome", testTime()), other, peer.ClassServer, testTime())
	for name, change := range map[string]func(*Node){
		"another key":      func(n *Node) { n.Key = other.Key },
		"no key":           func(n *Node) { n.Key = nil },
		"no seal key":      func(n *Node) { n.SealKey = SealKey{} },
		"another identity": func(n *Node) { n.Identity.ID = testID },
		"no chain":         func(n *Node) { n.Chain = nil },
		"no roots":         func(n *Node) { n.Roots = nil },
		"leaf alone":       func(n *Node) { n.Chain = n.Chain[:1] },
		"a foreign root":   func(n *Node) { n.Roots = append(slices.Clone(n.Roots), foreign.Roots...) },
		"leaf of another ca": func(n *Node) {
			n.Chain = [][]byte{n.Chain[0], testCA(t, testCluster, "paris", testTime()).CertDER()}
			n.Roots = append(slices.Clone(n.Roots), mustParse(t, n.Chain[1]))
		},
	} {
		bad := n
		change(&bad)
		if err := d.Save(bad); err == nil {
			t.Errorf("%s: saved", name)
		}
	}
	if back, err := d.Load(); err != nil || !sameNode(n, back) {
		t.Errorf("a refused save changed something: %v", err)
	}
}

func TestPurge(t *testing.T) {
	d, _, _ := founded(t)
	mine := d.file("raft.db")
	if err := errors.Join(os.WriteFile(mine, nil, 0o600), os.WriteFile(d.file(fileKey+tempSuffix), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := d.Purge(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"raft.db"}, names(t, d)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	if _, err := d.Load(); !errors.Is(err, ErrNoIdentity) {
		t.Errorf("after a purge: %v", err)
	}
	if err := d.Purge(); err != nil {
		t.Errorf("twice: %v", err)
	}
}
