package tunnel

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// wrapped is a connection that tells nobody what it wraps but NetConn.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func (w wrapped) CloseWrite() error { return w.Conn.(*net.TCPConn).CloseWrite() }

// shell is one that changes nothing, and is told of the end.
type shell struct {
	net.Conn
	closed *atomic.Int32
}

func (s shell) Direct() net.Conn { return s.Conn }

func (s shell) Close() error {
	s.closed.Add(1)
	return s.Conn.Close()
}

// sockets are the two ends of a connection over loopback.
func sockets(tb testing.TB) (dialled, accepted net.Conn) {
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

// clock can be put forward by hand.
type clock struct{ atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.Load())) }

func (c *clock) pass(d time.Duration) { c.Add(int64(d)) }

// field is a tunnel on real sockets.
type field struct {
	*testing.T
	*Tunnel
	clock           clock
	lot             *Lot
	browser, engine net.Conn
	done            chan struct{}
	stats           Stats
	err             error
	shells          atomic.Int32 // closed
}

// onSockets runs fn with a tunnel of either sort.
func onSockets(t *testing.T, cfg Config, fn func(f *field)) {
	for _, sort := range []string{"parked", "pumped"} {
		t.Run(sort, func(t *testing.T) {
			f := &field{T: t, done: make(chan struct{})}
			f.lot = Open(f.clock.now)
			cfg := cfg
			f.browser, cfg.Client = sockets(t)
			cfg.Server, f.engine = sockets(t)
			if sort == "parked" {
				cfg.Client = shell{cfg.Client, &f.shells}
			} else {
				cfg.Client = wrapped{cfg.Client}
			}
			cfg.End = func(s Stats, err error) { f.stats, f.err = s, err; close(f.done) }
			for _, nc := range []net.Conn{f.browser, f.engine} {
				_ = nc.SetDeadline(time.Now().Add(patience))
				_ = nc.(*net.TCPConn).SetReadBuffer(64 << 10) // so that it is soon full
			}
			f.lot.Start(cfg, func(tun *Tunnel) { f.Tunnel = tun })
			fn(f)
			f.browser.Close()
			f.engine.Close()
			f.lot.Close()
			<-f.done
			if sort == "parked" && canPark && f.shells.Load() != 1 {
				t.Errorf("what the connection was wrapped in was closed %d times", f.shells.Load())
			}
		})
	}
}

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// ended waits for the end of the tunnel.
func (f *field) ended() {
	f.Helper()
	select {
	case <-f.done:
	case <-time.After(patience):
		f.lot.Close()
		f.Fatal("the tunnel does not end")
	}
}

func (f *field) send(c net.Conn, b []byte) {
	f.Helper()
	if _, err := c.Write(b); err != nil {
		f.Fatal(err)
	}
}

func (f *field) expect(c net.Conn, want []byte) {
	f.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		f.Fatalf("got %d bytes (%v), want %d", n, err, len(want))
	}
}

// closes reads a close frame and answers it.
func (f *field) closes(c net.Conn, answer []byte) {
	f.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil || head[0] != 0x88 {
		f.Fatalf("% x, %v", head, err)
	}
	f.send(c, answer)
}

func TestSocketsPassFrames(t *testing.T) {
	var total Counters
	onSockets(t, Config{Counters: &total, ClientBuffered: clientText[:5], ServerBuffered: serverText[:1]}, func(f *field) {
		f.send(f.browser, clientText[5:])
		f.expect(f.engine, clientText)
		f.send(f.engine, serverText[1:])
		f.expect(f.browser, serverText)
		f.send(f.engine, serverClose)
		f.expect(f.browser, serverClose)
		f.send(f.browser, clientClose)
		f.expect(f.engine, clientClose)
		f.engine.Close()
		f.browser.Close()
		f.ended()
		want := Stats{BytesToServer: int64(len(clientText) + len(clientClose)), FramesToServer: 2,
			BytesToClient: int64(len(serverText) + len(serverClose)), FramesToClient: 2}
		if d := cmp.Diff(want, f.stats); d != "" || f.err != nil {
			f.Error(d, f.err)
		}
	})
	if total.FramesToServer.Load() != 4 {
		t.Error("the shared counters differ")
	}
}

// Many frames both ways at once, with ends that read slowly, in pieces of all sizes: what
// goes in comes out, though neither side takes it as fast as it comes.
func TestSocketsUnderLoad(t *testing.T) {
	onSockets(t, Config{}, func(f *field) {
		var work sync.WaitGroup
		way := func(from, to net.Conn, masked bool, seed uint64) {
			r := rand.New(rand.NewPCG(seed, 1))
			var all []byte
			for len(all) < 24<<20 {
				size := r.IntN(200)
				if r.IntN(4) == 0 {
					size = r.IntN(300_000)
				}
				all = append(all, frame(masked, 0x82, bytes.Repeat([]byte{byte(size)}, size))...)
			}
			full := make(chan struct{}) // nobody takes more
			work.Go(func() {
				_ = from.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
				n, err := from.Write(all)
				close(full)
				if err == nil {
					f.Error("no end was ever held up")
				}
				_ = from.SetWriteDeadline(time.Now().Add(patience))
				for b := all[n:]; len(b) > 0; {
					n := min(len(b), 1+r.IntN(200_000))
					if _, err := from.Write(b[:n]); err != nil {
						f.Error(err)
						return
					}
					b = b[n:]
				}
			})
			work.Go(func() {
				<-full
				got := make([]byte, len(all))
				s := rand.New(rand.NewPCG(seed, 2))
				for at := 0; at < len(got); {
					n, err := to.Read(got[at:min(len(got), at+1+s.IntN(100_000))])
					if err != nil {
						f.Error(err)
						return
					}
					at += n
				}
				if !bytes.Equal(got, all) {
					f.Error("bytes were changed")
				}
			})
		}
		way(f.browser, f.engine, true, 1)
		way(f.engine, f.browser, false, 2)
		work.Wait()
	})
}

func TestSocketsShutdown(t *testing.T) {
	onSockets(t, Config{}, func(f *field) {
		f.Shutdown(1012, time.Minute)
		f.Shutdown(1001, 0) // too late
		f.closes(f.browser, clientClose)
		f.closes(f.engine, serverClose)
		f.ended()
		if f.err != nil {
			f.Error(f.err)
		}
	})
}

func TestSocketsShutdownWithoutAnAnswer(t *testing.T) {
	onSockets(t, Config{}, func(f *field) {
		f.Shutdown(1012, 10*time.Second)
		f.expect(f.browser, frame(false, 0x88, []byte{0x03, 0xf4}))
		f.clock.pass(11 * time.Second)
		f.nudge()
		f.ended()
		if !errors.Is(f.err, ErrGrace) {
			f.Errorf("ended with %v", f.err)
		}
	})
}

func TestSocketsPing(t *testing.T) {
	onSockets(t, Config{Ping: 30 * time.Second}, func(f *field) {
		f.send(f.engine, serverText)
		f.expect(f.browser, serverText) // it runs
		f.clock.pass(31 * time.Second)
		f.nudge()
		head := make([]byte, 2+pingPayload)
		if _, err := io.ReadFull(f.browser, head); err != nil || head[0] != 0x89 {
			f.Fatalf("% x, %v", head, err)
		}
		f.send(f.browser, append(frame(true, 0x8a, head[2:]), clientText...))
		f.expect(f.engine, clientText) // and not the pong
		f.clock.pass(31 * time.Second)
		f.nudge()
		f.expect(f.browser, []byte{0x89})
		f.clock.pass(61 * time.Second)
		f.nudge()
		f.ended()
		if !errors.Is(f.err, ErrSilent) {
			f.Errorf("ended with %v", f.err)
		}
	})
}

func TestSocketsEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(f *field)
		want string // part of the error; "" for none
	}{
		{"the engine goes", func(f *field) { f.engine.Close(); f.expectEnd(f.browser, nil); f.browser.Close() }, ""},
		{"the client goes", func(f *field) { f.browser.Close(); f.expectEnd(f.engine, nil); f.engine.Close() }, ""},
		{"the client goes half-way", func(f *field) {
			_ = f.browser.(*net.TCPConn).CloseWrite()
			f.expectEnd(f.engine, nil)
			f.send(f.engine, serverText)
			f.engine.Close()
			f.expectEnd(f.browser, serverText)
		}, ""},
		{"the client is reset", func(f *field) { _ = f.browser.(*net.TCPConn).SetLinger(0); f.browser.Close() }, "read from client"},
		{"the engine is reset", func(f *field) { _ = f.engine.(*net.TCPConn).SetLinger(0); f.engine.Close() }, "read from engine"},
		{"within a frame", func(f *field) { f.send(f.engine, serverText[:4]); f.engine.Close() }, "unexpected EOF"},
		{"no frame", func(f *field) { f.send(f.engine, []byte("HTTP/1.1 200 OK\r\n\r\n")) }, "framing broken"},
		{"gone before it is written to", func(f *field) {
			f.browser.Close()
			f.expectEnd(f.engine, nil)
			for range 100 { // the first one may get away
				if _, err := f.engine.Write(serverText); err != nil {
					break
				}
			}
		}, ""},
		{"the lot", func(f *field) { f.lot.Close() }, ErrClosed.Error()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onSockets(t, Config{}, func(f *field) {
				tc.do(f)
				f.ended()
				if tc.want == "" && f.err != nil || tc.want != "" && (f.err == nil || !strings.Contains(f.err.Error(), tc.want)) {
					f.Errorf("ended with %v, want %q", f.err, tc.want)
				}
			})
		})
	}
}

// expectEnd reads to the end and wants nothing but want.
func (f *field) expectEnd(c net.Conn, want []byte) {
	f.Helper()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, want) {
		f.Fatalf("got % x (%v) up to the end, want % x", got, err, want)
	}
}
