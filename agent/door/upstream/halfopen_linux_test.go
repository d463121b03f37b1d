package upstream

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestCheckSilentFindsTheDead leaves a request at a peer that has lost the connection without
// a word: its kernel says so when it is asked.
func TestCheckSilentFindsTheDead(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var once sync.Once
	forgotten := make(chan error, 1)
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				var buf [512]byte
				if _, err := nc.Read(buf[:]); err != nil {
					return
				}
				first := false
				once.Do(func() { first = true })
				if first {
					forgotten <- forget(nc)
					return
				}
				_, _ = nc.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
			}()
		}
	}()
	pool := NewPool(Config{Dial: func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", ln.Addr().String())
	}})
	defer pool.CloseAll()
	answered := make(chan error, 1)
	go func() {
		resp, err := pool.RoundTrip(t.Context(), get())
		if err == nil {
			err = resp.Body.Close()
		}
		answered <- err
	}()
	if err := <-forgotten; err != nil {
		t.Skipf("a connection cannot be forgotten here: %v", err)
	}
	pool.CheckSilent()
	pool.CheckSilent()
	select {
	case err := <-answered:
		if err == nil {
			t.Error("the request was answered by nobody")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the request waits for ever on a connection that is dead")
	}
}

// forget ends a connection without a packet (TCP_REPAIR, tcp(7) of Linux 3.5).
func forget(nc net.Conn) error {
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_REPAIR, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}
