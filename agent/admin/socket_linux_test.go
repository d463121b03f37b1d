package admin

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestRealSocket asks the kernel: this process is at both ends, so it is let in.
func TestRealSocket(t *testing.T) {
	tr := newTruth()
	tr.seed(t)
	s := New(Config{Backend: &backend{truth: tr, self: n1}, Now: tr.Now, Log: zerolog.Nop()})
	path := filepath.Join(t.TempDir(), "usher.sock")
	ctx, cancel := context.WithCancel(context.Background())
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.ServeLocal(ctx, ln) }()
	c, err := NewClient(ClientConfig{Address: "unix:" + path})
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.Whoami(ctx)
	if err != nil || who.Kind != "local" || who.ID == "" || who.Role != "admin" {
		t.Errorf("%+v, %v", who, err)
	}
	c.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSystemUserNeedsASocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if name, err := SystemUser(a); err == nil || name != "" || !strings.Contains(err.Error(), "unix socket") {
		t.Errorf("%q, %v", name, err)
	}
}
