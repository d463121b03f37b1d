package upstream

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/transport/memnet"
)

// tcp returns a pair of real sockets on loopback.
func tcp(tb testing.TB) (dialled, accepted net.Conn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	if dialled, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if accepted, err = ln.Accept(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// wrapped hides a socket as *tls.Conn does.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// hidden hides it for good.
type hidden struct{ net.Conn }

func TestHealthOfSockets(t *testing.T) {
	for _, tc := range []struct {
		name string
		wrap func(net.Conn) net.Conn
		peek bool
	}{
		{"socket", func(c net.Conn) net.Conn { return c }, runtime.GOOS != "windows"},
		{"wrapped", func(c net.Conn) net.Conn { return wrapped{c} }, false},
	} {
		for _, fault := range []struct {
			name   string
			make   func(net.Conn)
			health bool
		}{
			{"quiet", func(net.Conn) {}, true},
			{"closed", func(c net.Conn) { c.Close() }, false},
			{"reset", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() }, false},
			{"unasked bytes", func(c net.Conn) { _, _ = c.Write([]byte("x")) }, false},
		} {
			t.Run(tc.name+" "+fault.name, func(t *testing.T) {
				ours, theirs := tcp(t)
				p := NewPool(Config{})
				nc := tc.wrap(ours)
				c := &conn{nc: nc, pool: p, peek: newPeeker(nc)}
				if got := c.peek != nil; got != tc.peek {
					t.Fatalf("peeks: %v, want %v", got, tc.peek)
				}
				gone := make(chan struct{})
				c.rest(p.watchers.Go, func(*conn) { close(gone) })
				fault.make(theirs)
				if !fault.health { // wait for the fault to travel, without reading it
					if tc.peek {
						waitReadable(t, ours)
					} else {
						<-gone
					}
				}
				if got := c.wake(); got != fault.health {
					t.Errorf("healthy: %v, want %v", got, fault.health)
				}
				p.watchers.Wait()
			})
		}
	}
}

func TestSocketBelow(t *testing.T) {
	ours, _ := tcp(t)
	if tcpBelow(wrapped{wrapped{ours}}) != ours || tcpBelow(hidden{ours}) != nil {
		t.Error("the socket below is not found")
	}
}

// Peers speak TLS over a connection that cannot be peeked at, in a bubble.
func TestTLSInABubble(t *testing.T) {
	config := selfSigned(t)
	synctest.Test(t, func(t *testing.T) {
		h := memnet.New().Host("h", "10.0.0.1")
		ln, err := h.Listen(t.Context(), "tcp", ":443")
		if err != nil {
			t.Fatal(err)
		}
		dials := 0
		p := NewPool(Config{Dial: func(ctx context.Context) (net.Conn, error) {
			dials++
			c, err := h.DialContext(ctx, "tcp", "10.0.0.1:443")
			if err != nil {
				return nil, err
			}
			return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), nil // who it is, is not the question here
		}})
		go func() {
			for n := 0; ; n++ {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go func() {
					l := &link{T: t, Conn: tls.Server(c, config)}
					defer l.Close()
					l.br = bufio.NewReader(l.Conn)
					for range 3 {
						if l.request() == nil {
							return
						}
						l.say(ok2)
					}
				}()
			}
		}()
		lab := &lab{T: t, pool: p}
		for range 5 {
			lab.mustDo(get(), 200, "ok")
			time.Sleep(20 * time.Second)
		}
		if dials != 2 {
			t.Errorf("%d dials, want 2", dials)
		}
		p.CloseAll()
		ln.Close()
	})
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// engineOnLoopback answers everything with answer, as cheaply as can be.
func engineOnLoopback(b *testing.B, answer string) *Pool {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if strings.HasSuffix(string(buf[:n]), "\r\n\r\n") {
						_, _ = io.WriteString(c, answer)
					}
				}
			}()
		}
	}()
	var d net.Dialer
	p := NewPool(Config{Dial: func(ctx context.Context) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", ln.Addr().String())
	}})
	b.Cleanup(func() { p.CloseAll() })
	return p
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(map[int]string{1 << 10: "1KiB", 64 << 10: "64KiB"}[size], func(b *testing.B) {
			var head strings.Builder
			head.WriteString("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: engine\r\n")
			head.WriteString("Content-Length: " + big.NewInt(int64(size)).String() + "\r\n\r\n")
			p := engineOnLoopback(b, head.String()+strings.Repeat("x", size))
			r := get()
			r.Header = map[string][]string{"Accept": {"*/*"}, "Cookie": {"a=b"}, "User-Agent": {"benchmark"}}
			buf := make([]byte, 32<<10)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := p.RoundTrip(ctx, r)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = resp.Body.Read(buf)
				}
				if err != io.EOF {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}
