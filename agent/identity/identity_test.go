package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	testCluster  = "5f1d3a0c-9b7e-4c62-8a11-2f40c9d6e7b3"
	otherCluster = "0d9e8f7a-1111-4222-9333-444455556666"
	testID       = peer.ID("abcdefghijklmnop")
	year         = 365 * 24 * time.Hour
)

func testTime() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// stream is a random source that always gives the same: SHA-256 of a counter.
func stream(seed byte) io.Reader { return &streamReader{seed: seed} }

type streamReader struct {
	seed byte
	n    byte
	left bytes.Buffer
}

func (s *streamReader) Read(p []byte) (int, error) {
	for s.left.Len() < len(p) {
		sum := sha256.Sum256([]byte{s.seed, s.n})
		s.left.Write(sum[:])
		s.n++
	}
	return s.left.Read(p)
}

func testCA(t testing.TB, cluster, name string, now time.Time) *CA {
	t.Helper()
	ca, err := NewCA(cluster, name, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// testPending is a node that asks, without a directory.
func testPending(t testing.TB, id peer.ID) Pending {
	t.Helper()
	text, err := drawKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseNodeKey(text)
	if err != nil {
		t.Fatal(err)
	}
	seal, err := NewSealKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return Pending{ID: id, Key: key, SealKey: seal}
}

// testNode is a node of ca, valid for a year.
func testNode(t testing.TB, ca *CA, p Pending, class peer.Class, now time.Time) Node {
	t.Helper()
	csr, err := p.CSR()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Issue(csr, transport.Identity{Cluster: ca.Cluster(), Class: class, ID: p.ID}, now, year)
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.Node([][]byte{leaf, ca.CertDER()}, [][]byte{ca.CertDER()})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
