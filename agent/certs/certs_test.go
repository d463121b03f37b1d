package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// write makes a self-signed certificate of those names in two files.
func write(t *testing.T, dir, file string, serial int64, ends time.Time, names ...string) Files {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	f := Files{filepath.Join(dir, file+".pem"), filepath.Join(dir, file+".key")}
	for name, b := range map[string]*pem.Block{f.Cert: {Type: "CERTIFICATE", Bytes: der}, f.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func hello(name string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName: name, SupportedVersions: []uint16{tls.VersionTLS13}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.X25519, tls.CurveP256},
	}
}

func serial(t *testing.T, s *Store, name string) int64 {
	t.Helper()
	c, err := s.Get(hello(name))
	if err != nil {
		t.Fatal(err)
	}
	return c.Leaf.SerialNumber.Int64()
}

func TestNames(t *testing.T) {
	dir, year := t.TempDir(), time.Now().AddDate(1, 0, 0)
	s, err := Open([]Files{
		write(t, dir, "first", 1, year, "a.example"),
		write(t, dir, "wild", 2, year, "*.b.example", "b.example"),
		write(t, dir, "exact", 3, year, "X.b.example"),
	}, nil, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"a.example": 1, "A.Example.": 1, "b.example": 2, "y.b.example": 2, "x.b.example": 3, "z.y.b.example": 1,
		"": 1, "other": 1, "10.0.0.1": 1,
	} {
		if got := serial(t, s, name); got != want {
			t.Errorf("%q: certificate %d, want %d", name, got, want)
		}
	}
}

// What was put in the place of a file is used; what cannot be used is not.
func TestFilesThatChange(t *testing.T) {
	dir, year := t.TempDir(), time.Now().AddDate(1, 0, 0)
	f := write(t, dir, "door", 1, year, "a.example")
	var log bytes.Buffer
	s, err := Open([]Files{f}, nil, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	touch := func() {
		later := time.Now().Add(time.Hour)
		for _, name := range []string{f.Cert, f.Key} {
			_ = os.Chtimes(name, later, later)
		}
	}
	old, err := os.ReadFile(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "door", 2, year, "a.example")
	fresh, _ := os.ReadFile(f.Key)
	_ = os.WriteFile(f.Key, old, 0o600) // the certificate came first
	touch()
	s.Look()
	if got := serial(t, s, ""); got != 1 || !strings.Contains(log.String(), "goes on") {
		t.Errorf("with the key of another one: %d; %s", got, &log)
	}
	_ = os.WriteFile(f.Key, fresh, 0o600)
	s.Look()
	if got := serial(t, s, ""); got != 2 {
		t.Errorf("the new one is not used, but %d", got)
	}
	_ = os.Remove(f.Cert)
	s.Look()
	if got := serial(t, s, ""); got != 2 {
		t.Errorf("with the file gone: %d", got)
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	dir, year := t.TempDir(), time.Now().AddDate(1, 0, 0)
	good, other := write(t, dir, "a", 1, year, "a"), write(t, dir, "b", 2, year, "b")
	empty := filepath.Join(dir, "empty")
	_ = os.WriteFile(empty, nil, 0o600)
	large := filepath.Join(dir, "large")
	_ = os.WriteFile(large, make([]byte, maxFile+1), 0o600)
	for _, c := range []struct {
		files []Files
		says  string
	}{
		{nil, "no certificate"},
		{[]Files{{good.Cert, other.Key}}, "private key does not match"},
		{[]Files{{empty, good.Key}}, "failed to find"},
		{[]Files{{filepath.Join(dir, "none"), good.Key}}, "none"},
		{[]Files{{dir, good.Key}}, "is not a file"},
		{[]Files{{large, good.Key}}, "bytes"},
		{[]Files{good, {good.Cert, empty}}, "empty"},
	} {
		if _, err := Open(c.files, nil, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v, want %q", c.files, err, c.says)
		}
	}
	var log bytes.Buffer
	if _, err := Open([]Files{write(t, dir, "old", 3, time.Now().Add(-time.Minute), "a")}, nil, zerolog.New(&log)); err != nil || !strings.Contains(log.String(), "expired") {
		t.Errorf("expired: %v, %s", err, &log)
	}
}
