package admin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
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

// TestOtherUsersAreRefused connects as another user, which only root can do: one
// thread takes that user's ID (setresuid(2) is by thread) and is then thrown away.
func TestOtherUsersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	path := filepath.Join(t.TempDir(), "usher.sock")
	ln, err := new(net.ListenConfig).Listen(context.Background(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for dir := path; dir != "/"; dir = filepath.Dir(dir) {
		if strings.HasPrefix(dir, os.TempDir()+"/") {
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		}
	}
	dialled := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, 65534, 65534, 65534); e != 0 {
			dialled <- e
			return
		}
		c, err := net.Dial("unix", path)
		if err == nil {
			defer c.Close()
		}
		dialled <- err
	}()
	if err := <-dialled; err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if name, err := SystemUser(c); err == nil || name != "" || !strings.Contains(err.Error(), "65534") {
		t.Errorf("%q, %v", name, err)
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
