package memnet

import (
	"context"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestListenAddresses(t *testing.T) {
	n := New()
	a := n.Host("a", "10.0.0.1")
	b := n.Host("b", "10.0.0.2")
	for _, tc := range []struct {
		name, listen, dial string
		from               *Host
		refused            bool
	}{
		{"own address", "10.0.0.1:1001", "10.0.0.1:1001", b, false},
		{"by name", "10.0.0.1:1002", "a:1002", b, false},
		{"wildcard from outside", ":1003", "10.0.0.1:1003", b, false},
		{"wildcard from inside", "0.0.0.0:1004", "127.0.0.1:1004", a, false},
		{"loopback from inside", "127.0.0.1:1005", "localhost:1005", a, false},
		{"loopback is not outside", "127.0.0.1:1006", "10.0.0.1:1006", b, true},
		{"loopback is per host", "127.0.0.1:1007", "127.0.0.1:1007", b, true},
		{"own address is not loopback", "10.0.0.1:1008", "127.0.0.1:1008", a, true},
		{"loopback of version 6", "[::1]:1009", "[::1]:1009", a, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ln := listen(t, a, "tcp", tc.listen)
			c, err := tc.from.DialContext(t.Context(), "tcp", tc.dial)
			if tc.refused {
				wantOp(t, err, "dial", syscall.ECONNREFUSED)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Close()
			s, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
		})
	}
	if got := n.Conns(); got != 0 {
		t.Errorf("%d ends left", got)
	}
}

func TestListenConflicts(t *testing.T) {
	a := New().Host("a", "10.0.0.1")
	ln := listen(t, a, "tcp", ":80")
	for _, addr := range []string{":80", "127.0.0.1:80", "10.0.0.1:80"} {
		_, err := a.Listen(t.Context(), "tcp", addr)
		wantOp(t, err, "listen", syscall.EADDRINUSE)
	}
	_, err := a.Listen(t.Context(), "tcp", "10.0.0.9:80")
	wantOp(t, err, "listen", syscall.EADDRNOTAVAIL)
	listen(t, a, "unix", "/run/x")
	_, err = a.Listen(t.Context(), "unix", "/run/x")
	wantOp(t, err, "listen", syscall.EADDRINUSE)

	first, second := listen(t, a, "tcp", ":0"), listen(t, a, "tcp", "127.0.0.1:0")
	if first.Addr().String() == second.Addr().String() || first.Addr().(*net.TCPAddr).Port == 0 {
		t.Errorf("port 0 gave %v and %v", first.Addr(), second.Addr())
	}
	ln.Close()
	listen(t, a, "tcp", ":80") // free again
	wantOp(t, ln.Close(), "close", net.ErrClosed)
	if _, err := a.DialContext(t.Context(), "tcp", "a:80"); err != nil {
		t.Errorf("closing an old listener twice took the new one away: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	n := New()
	a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
	ln := listen(t, a, "unix", "/run/x.sock")
	client, server := connect(t, a, ln)
	write(t, client, "hi")
	read(t, server, "hi")
	if got, ok := client.RemoteAddr().(*net.UnixAddr); !ok || got.Name != "/run/x.sock" {
		t.Errorf("remote address %v", client.RemoteAddr())
	}
	_, err := b.DialContext(t.Context(), "unix", "/run/x.sock")
	wantOp(t, err, "dial", syscall.ECONNREFUSED)
}

func TestLookupHost(t *testing.T) {
	n := New()
	a := n.Host("a", "10.0.0.1")
	n.Host("b.example", "fd00::2")
	for host, want := range map[string][]string{
		"a": {"10.0.0.1"}, "b.example": {"fd00::2"}, "localhost": {"127.0.0.1"}, "192.0.2.7": {"192.0.2.7"},
	} {
		got, err := a.LookupHost(t.Context(), host)
		if err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", host, diff)
		}
	}
	if _, err := a.LookupHost(t.Context(), "nobody"); err == nil {
		t.Error("an unknown name was resolved")
	}
}

func TestListenerCloseDropsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		ln := listen(t, b, "tcp", ":80")
		waiting, err := a.DialContext(t.Context(), "tcp", "b:80")
		if err != nil {
			t.Fatal(err)
		}
		ln.Close()
		if _, err := waiting.Read(make([]byte, 1)); err == nil {
			t.Error("a connection in the queue outlived its listener")
		}
		waiting.Close()
		_, err = ln.Accept()
		wantOp(t, err, "accept", net.ErrClosed)
		if got := n.Conns(); got != 0 {
			t.Errorf("%d ends left", got)
		}
	})
}

func TestBacklogMakesDialsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		ln := listen(t, b, "tcp", ":80")
		dial := func(wait time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			defer cancel()
			_, err := a.DialContext(ctx, "tcp", "b:80")
			return err
		}
		for range backlog {
			if err := dial(time.Second); err != nil {
				t.Fatal(err)
			}
		}
		wantOp(t, dial(time.Second), "dial", context.DeadlineExceeded)
		time.AfterFunc(time.Second, func() { ln.Accept() })
		if err := dial(time.Minute); err != nil {
			t.Errorf("after one was accepted: %v", err)
		}
	})
}

func TestSetIP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		a, b := n.Host("a", "10.0.0.1"), n.Host("b", "10.0.0.2")
		everywhere, fixed := listen(t, b, "tcp", ":80"), listen(t, b, "tcp", "10.0.0.2:81")
		client, err := a.DialContext(t.Context(), "tcp", "b:80")
		if err != nil {
			t.Fatal(err)
		}
		server, err := everywhere.Accept()
		if err != nil {
			t.Fatal(err)
		}
		b.SetIP("10.0.0.3")
		write(t, client, "still here")
		read(t, server, "still here")

		if _, err := a.DialContext(t.Context(), "tcp", "10.0.0.3:80"); err != nil {
			t.Errorf("wildcard listener at the new address: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = a.DialContext(ctx, "tcp", fixed.Addr().String())
		wantOp(t, err, "dial", context.DeadlineExceeded) // nobody has that address now
		if got, _ := a.LookupHost(t.Context(), "b"); len(got) != 1 || got[0] != "10.0.0.3" {
			t.Errorf("b resolves to %v", got)
		}

		a.SetIP("10.0.0.3") // a swap, one step at a time
		b.SetIP("10.0.0.1")
		for host, want := range map[*Host]string{a: "10.0.0.3", b: "10.0.0.1"} {
			ln := listen(t, host, "tcp", want+":90")
			if _, err := n.hosts["a"].DialContext(t.Context(), "tcp", ln.Addr().String()); err != nil {
				t.Errorf("%s at %s: %v", host.Name(), host.IP(), err)
			}
		}
	})
}
