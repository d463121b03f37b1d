package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/transport"
)

var _ transport.Network = (*Host)(nil)

// pair is two hosts and one connection between them.
type pair struct {
	net            *Net
	a, b           *Host
	client, server net.Conn
}

// run runs fn in a bubble with a fresh pair and checks that closing both ends
// leaves nothing behind.
func run(t *testing.T, fn func(t *testing.T, p pair)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := New()
		p := pair{net: n, a: n.Host("a", "10.0.0.1"), b: n.Host("b", "10.0.0.2")}
		ln := listen(t, p.b, "tcp", "10.0.0.2:80")
		p.client, p.server = connect(t, p.a, ln)
		fn(t, p)
		p.client.Close()
		p.server.Close()
		ln.Close()
		if got := n.Conns(); got != 0 {
			t.Errorf("%d ends of connections left open", got)
		}
		if len(n.links) != 0 {
			t.Errorf("%d closed connections are remembered", len(n.links))
		}
	})
}

func listen(t *testing.T, h *Host, network, addr string) net.Listener {
	t.Helper()
	ln, err := h.Listen(t.Context(), network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

func connect(t *testing.T, from *Host, ln net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := from.DialContext(t.Context(), ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func write(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if n, err := c.Write([]byte(s)); n != len(s) || err != nil {
		t.Fatalf("write %q: %d, %v", s, n, err)
	}
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	defer c.SetReadDeadline(time.Time{})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q, %v; want %q", got, err, want)
	}
}

// silent fails when c has something to read within a minute.
func silent(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(time.Minute))
	defer c.SetReadDeadline(time.Time{})
	if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes, %v; want silence", n, err)
	}
}

// wantOp fails unless err is a *net.OpError of op around target.
func wantOp(t *testing.T, err error, op string, target error) {
	t.Helper()
	var oe *net.OpError
	if !errors.As(err, &oe) || oe.Op != op || !errors.Is(err, target) {
		t.Fatalf("got %#v (%v); want a *net.OpError of %q around %v", err, err, op, target)
	}
}

func TestBytesBothWays(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		write(t, p.client, "hello ")
		write(t, p.client, "world")
		read(t, p.server, "hello world")
		write(t, p.server, "and back")
		read(t, p.client, "and back")
	})
}

func TestAddresses(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		remote, ok := p.client.RemoteAddr().(*net.TCPAddr)
		if !ok || remote.String() != "10.0.0.2:80" {
			t.Errorf("client's remote address %v", p.client.RemoteAddr())
		}
		local, ok := p.server.RemoteAddr().(*net.TCPAddr)
		if !ok || local.IP.String() != "10.0.0.1" || local.Port < firstEphemeral {
			t.Errorf("server's remote address %v", p.server.RemoteAddr())
		}
		if diff := cmp.Diff(p.client.LocalAddr().String(), p.server.RemoteAddr().String()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestCloseGivesEOFThenBrokenPipe(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		write(t, p.client, "last words")
		p.client.Close()
		read(t, p.server, "last words")
		if n, err := p.server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("read %d, %v; want a bare io.EOF", n, err)
		}
		_, err := p.server.Write([]byte("x"))
		wantOp(t, err, "write", syscall.EPIPE)
		_, err = p.client.Read(make([]byte, 1))
		wantOp(t, err, "read", net.ErrClosed)
		wantOp(t, p.client.Close(), "close", net.ErrClosed)
	})
}

func TestHalfClose(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		write(t, p.client, "question")
		if err := p.client.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p.server); err != nil || string(got) != "question" {
			t.Fatalf("read %q, %v", got, err)
		}
		write(t, p.server, "answer")
		read(t, p.client, "answer")
		_, err := p.client.Write([]byte("x"))
		wantOp(t, err, "write", syscall.EPIPE)
	})
}

func TestCloseWakesReaderAndWriter(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := p.client.Read(make([]byte, 1))
			wantOp(t, err, "read", net.ErrClosed)
		})
		wg.Go(func() {
			_, err := p.client.Write(make([]byte, window+1))
			wantOp(t, err, "write", net.ErrClosed)
		})
		synctest.Wait()
		p.client.Close()
		wg.Wait()
	})
}

func TestWindowBlocksWriter(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		sent := bytes.Repeat([]byte("0123456789abcdef"), window/8) // two windows
		done := make(chan error, 1)
		go func() {
			_, err := p.client.Write(sent)
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("a write of two windows did not wait: %v", err)
		default:
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(p.server, got); err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("read: %v, equal %v", err, bytes.Equal(got, sent))
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestDeadlinesAreExact(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		for name, step := range map[string]func() error{
			"read": func() error {
				p.client.SetReadDeadline(time.Now().Add(1500 * time.Millisecond))
				_, err := p.client.Read(make([]byte, 1))
				return err
			},
			"write": func() error {
				p.client.SetWriteDeadline(time.Now().Add(1500 * time.Millisecond))
				_, err := p.client.Write(make([]byte, window+1))
				return err
			},
		} {
			began := time.Now()
			err := step()
			wantOp(t, err, name, os.ErrDeadlineExceeded)
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%s: %v is no timeout", name, err)
			}
			if took := time.Since(began); took != 1500*time.Millisecond {
				t.Errorf("%s took %v", name, took)
			}
		}
		p.server.SetDeadline(time.Now().Add(-time.Second))
		_, err := p.server.Read(make([]byte, 1)) // there is a window to read
		wantOp(t, err, "read", os.ErrDeadlineExceeded)
		p.server.SetDeadline(time.Time{})
		if _, err := p.server.Read(make([]byte, 1)); err != nil {
			t.Errorf("after the deadline was taken away: %v", err)
		}
	})
}

func TestDeadlineMovesWhileReading(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		began := time.Now()
		p.client.SetReadDeadline(began.Add(time.Hour))
		time.AfterFunc(time.Second, func() { p.client.SetReadDeadline(time.Now().Add(time.Second)) })
		_, err := p.client.Read(make([]byte, 1))
		wantOp(t, err, "read", os.ErrDeadlineExceeded)
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestManyWriters(t *testing.T) {
	run(t, func(t *testing.T, p pair) {
		const writers, each = 8, 1000
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range each {
					if _, err := p.client.Write([]byte("abcd")); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		got := make([]byte, writers*each*4)
		if _, err := io.ReadFull(p.server, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, bytes.Repeat([]byte("abcd"), writers*each)) {
			t.Error("writes were interleaved")
		}
		wg.Wait()
	})
}

func TestDialErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		_, err := a.DialContext(t.Context(), "tcp", "10.0.0.2:80")
		wantOp(t, err, "dial", syscall.ECONNREFUSED)
		_, err = a.DialContext(t.Context(), "unix", "/run/x.sock")
		wantOp(t, err, "dial", syscall.ECONNREFUSED)

		var dns *net.DNSError
		if _, err = a.DialContext(t.Context(), "tcp", "nobody:80"); !errors.As(err, &dns) || !dns.IsNotFound {
			t.Errorf("unknown name: %v", err)
		}
		if _, err = a.DialContext(t.Context(), "tcp", "10.0.0.2:http"); err == nil {
			t.Error("a port that is no number was dialled")
		}

		listen(t, b, "tcp", ":80")
		n.Cut(a, b)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err = a.DialContext(ctx, "tcp", "10.0.0.2:80")
		wantOp(t, err, "dial", context.DeadlineExceeded)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("the dial through a cut took %v", took)
		}
		_, err = a.DialContext(t.Context(), "tcp", "10.0.0.2:80")
		wantOp(t, err, "dial", syscall.ETIMEDOUT)

		time.AfterFunc(time.Second, func() { n.Heal(a, b) })
		began = time.Now()
		c, err := a.DialContext(t.Context(), "tcp", "10.0.0.2:80")
		if err != nil || time.Since(began) != time.Second {
			t.Fatalf("dial until healed: %v after %v", err, time.Since(began))
		}
		c.Close()
	})
}
