//go:build unix

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func tcpPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if there, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if here, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// A socket is waited for by its descriptor, and no attempt keeps a buffer when there is
// nothing to read.
func TestIdleSocketHoldsNoBuffer(t *testing.T) {
	here, there := tcpPair(t)
	r := NewReader(here, NewBuffers(Limits{}))
	if r.raw == nil {
		t.Fatal("the socket is waited for by reading a byte")
	}
	_ = r.raw.Control(func(fd uintptr) {
		n := testing.AllocsPerRun(100, func() {
			if r.attempt(fd) || r.b != nil {
				t.Error("a buffer is held")
			}
		})
		if n != 0 {
			t.Errorf("%v allocations: the buffer was not given back", n)
		}
	})
	_ = here.SetReadDeadline(time.Unix(1, 0))
	if err := r.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) || r.b != nil {
		t.Errorf("%v, buffer held %v", err, r.b != nil)
	}
	_ = here.SetReadDeadline(time.Time{})
	if _, err := io.WriteString(there, get+"\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(); err != nil || r.b == nil {
		t.Fatal(err)
	}
	if q, err := r.ReadRequest(); err != nil || string(q.Host) != "a" {
		t.Fatal(err)
	}
	there.Close()
	if err := r.Wait(); err != io.EOF || r.b != nil {
		t.Errorf("%v, buffer held %v", err, r.b != nil)
	}
	here.Close()
	if err := r.Wait(); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

// A connection that only looks like a socket may read something else than the socket.
func TestWrappedSocketIsReadThroughItsWrapper(t *testing.T) {
	here, _ := tcpPair(t)
	type wrapped struct{ *net.TCPConn }
	if r := NewReader(wrapped{here.(*net.TCPConn)}, NewBuffers(Limits{})); r.raw != nil {
		t.Error("the wrapper is passed by")
	}
}
