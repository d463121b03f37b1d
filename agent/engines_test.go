package agent

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto/x509"
)

func TestEngineRoots(t *testing.T) {
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	good := write("good", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	pool, err := engineRoots(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Certificate().Verify(x509.VerifyOptions{Roots: pool, DNSName: "example.com"}); err != nil {
		t.Errorf("its authority is not trusted: %v", err)
	}
	if pool, err := engineRoots(""); pool != nil || err != nil {
		t.Errorf("none: %v, %v", pool, err)
	}
	for _, bad := range []string{write("empty", nil), write("garbage", []byte("x")), filepath.Join(dir, "none"), dir} {
		if _, err := engineRoots(bad); err == nil || !strings.Contains(err.Error(), "--engine-ca") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
