//go:build unix

package load

import (
	"io"
	"net"
	"testing"
	"time"
)

// TestAlive: a kept connection that the other end has closed is not used again.
func TestAlive(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if !alive(c) {
		t.Error("an open connection counts as closed")
	}
	other.Close()
	// Wait for the end to arrive by reading it; it can be read again.
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if alive(c) {
		t.Error("a closed connection counts as open")
	}
}
