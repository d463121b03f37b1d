package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/transport/memnet"
)

// rig is a running tunnel with both its ends.
type rig struct {
	*testing.T
	*Tunnel
	browser, engine net.Conn
	began           time.Time
	lot             *Lot
	done            chan struct{}
	stats           Stats
	err             error
	after           time.Duration // from start to end
}

func inRig(t *testing.T, cfg Config, fn func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		h := n.Host("h", "10.0.0.1")
		r := &rig{T: t, began: time.Now(), done: make(chan struct{})}
		r.browser, cfg.Client = tcpPair(t, h)
		cfg.Server, r.engine = tcpPair(t, h)
		cfg.End = func(s Stats, err error) {
			r.stats, r.err, r.after = s, err, time.Since(r.began)
			close(r.done)
		}
		r.lot = Open(nil)
		r.lot.Start(cfg, func(tun *Tunnel) { r.Tunnel = tun })
		fn(r)
		r.browser.Close()
		r.engine.Close()
		<-r.done
		r.lot.Close()
		if got := n.Conns(); got != 0 {
			t.Errorf("%d ends of connections are left open", got)
		}
	})
}

func tcpPair(t *testing.T, h *memnet.Host) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := h.Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if dialled, err = h.DialContext(t.Context(), "tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return dialled, accepted
}

func (r *rig) send(c net.Conn, b []byte) {
	r.Helper()
	if _, err := c.Write(b); err != nil {
		r.Fatal(err)
	}
}

// expect reads exactly want.
func (r *rig) expect(c net.Conn, want []byte) {
	r.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c, got)
	if !bytes.Equal(got[:n], want) || err != nil {
		r.Fatalf("got % x (%v), want % x", got[:n], err, want)
	}
}

// expectEnd reads to the end and wants nothing but want.
func (r *rig) expectEnd(c net.Conn, want []byte) {
	r.Helper()
	got, err := io.ReadAll(c)
	if !bytes.Equal(got, want) || err != nil {
		r.Fatalf("got % x (%v) up to the end, want % x", got, err, want)
	}
}

// next reads one control frame and returns its opcode and payload, unmasked.
func (r *rig) next(c net.Conn, masked bool) (byte, []byte) {
	r.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		r.Fatalf("%v at %v", err, time.Since(r.began))
	}
	if masked != (head[1]&maskBit != 0) {
		r.Fatalf("mask bit of % x is wrong", head)
	}
	rest := make([]byte, int(head[1]&127))
	key := make([]byte, 4)
	if masked {
		_, _ = io.ReadFull(c, key)
	}
	if _, err := io.ReadFull(c, rest); err != nil {
		r.Fatal(err)
	}
	for i := range rest {
		rest[i] ^= key[i%4]
	}
	return head[0], rest
}

func (r *rig) ends(want error, after time.Duration) {
	r.Helper()
	<-r.done
	if !errors.Is(r.err, want) {
		r.Errorf("ended with %v, want %v", r.err, want)
	}
	if r.after != after {
		r.Errorf("ended after %v, want %v", r.after, after)
	}
}

var (
	clientText  = frame(true, 0x81, []byte("from the client"))
	serverText  = frame(false, 0x81, []byte("from the server"))
	emptyClose  = frame(true, 0x88, nil)
	clientClose = frame(true, 0x88, []byte{0x03, 0xe8})
	serverClose = frame(false, 0x88, append([]byte{0x0f, 0xa0}, "bye"...))
)

func TestTunnelPassesFrames(t *testing.T) {
	var total Counters
	inRig(t, Config{ClientBuffered: clientText[:3], ServerBuffered: serverText, Counters: &total}, func(r *rig) {
		r.send(r.browser, clientText[3:])
		r.expect(r.engine, clientText)
		r.expect(r.browser, serverText)
		big := frame(false, 0x82, bytes.Repeat([]byte("0123456789"), 20_000))
		go r.engine.Write(big)
		r.expect(r.browser, big)
		for i := range clientText { // byte by byte
			r.send(r.browser, clientText[i:i+1])
			synctest.Wait()
		}
		r.expect(r.engine, clientText)

		r.send(r.engine, serverClose)
		r.expect(r.browser, serverClose) // the engine's own code
		r.send(r.browser, clientClose)
		r.expect(r.engine, clientClose)
		r.engine.Close()
		r.expectEnd(r.browser, nil)
		r.browser.Close()
		r.ends(nil, 0)
		want := Stats{BytesToServer: int64(2*len(clientText) + len(clientClose)), FramesToServer: 3,
			BytesToClient: int64(len(serverText) + len(big) + len(serverClose)), FramesToClient: 3}
		if d := cmp.Diff(want, r.stats); d != "" {
			t.Error(d)
		}
		if total.FramesToClient.Load() != 3 || total.BytesToServer.Load() != want.BytesToServer {
			t.Error("the shared counters differ")
		}
	})
}

func TestTunnelDiscardsAfterClose(t *testing.T) {
	inRig(t, Config{Ping: time.Second}, func(r *rig) {
		r.send(r.engine, append(append([]byte(nil), serverClose...), serverText...))
		r.expect(r.browser, serverClose)
		time.Sleep(10 * time.Second)
		r.engine.Close()
		r.expectEnd(r.browser, nil) // neither the text nor a ping
	})
}

func TestTunnelDoesNotWaitForEverForTheAnswerToAClose(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		r.send(r.browser, emptyClose)
		r.ends(nil, closeWait)
	})
}

func TestTunnelPings(t *testing.T) {
	inRig(t, Config{Ping: 30 * time.Second, IdleTimeout: 5 * time.Minute}, func(r *rig) {
		for range 3 {
			op, payload := r.next(r.browser, false)
			if op != 0x89 || len(payload) != pingPayload {
				r.Fatalf("op %#x, payload % x", op, payload)
			}
			r.send(r.browser, frame(true, 0x8a, payload))
		}
		if d := time.Since(r.began); d != 90*time.Second {
			t.Errorf("three pings after %v, want 90s", d)
		}
		// Pongs that are not to our pings pass.
		foreign := [][]byte{frame(true, 0x8a, nil), frame(true, 0x8a, []byte("twelve bytes")), frame(true, 0x8a, []byte("x"))}
		_, payload := r.next(r.browser, false)
		future := append([]byte(nil), payload...)
		binary.BigEndian.PutUint32(future[8:], 99)
		alike := append([]byte("notours!"), payload[8:]...)
		foreign = append(foreign, frame(true, 0x8a, future), frame(true, 0x8a, alike))
		all := bytes.Join(foreign, nil)
		r.send(r.browser, append(frame(true, 0x8a, payload), all...))
		r.expect(r.engine, all)
		for i := range all { // byte by byte
			r.send(r.browser, all[i:i+1])
			synctest.Wait()
		}
		r.expect(r.engine, all)
		if got := r.Stats().FramesToServer; got != 10 {
			t.Errorf("%d frames counted, want 10", got)
		}
	})
}

// A ping waits for the end of the frame that the client is receiving, and goes in
// between the fragments of a message.
func TestTunnelPingsBetweenFrames(t *testing.T) {
	one, two := frame(false, 0x01, []byte("first half")), frame(false, 0x80, []byte("second half"))
	inRig(t, Config{Ping: 30 * time.Second}, func(r *rig) {
		r.send(r.engine, one[:4])
		r.expect(r.browser, one[:4])
		time.Sleep(40 * time.Second)
		r.send(r.engine, append(append([]byte(nil), one[4:]...), two...))
		r.expect(r.browser, one[4:])
		if op, _ := r.next(r.browser, false); op != 0x89 {
			t.Errorf("op %#x, want a ping", op)
		}
		r.expect(r.browser, two)
	})
}

func TestTunnelSilentClient(t *testing.T) {
	inRig(t, Config{Ping: 30 * time.Second}, func(r *rig) {
		r.ends(ErrSilent, 90*time.Second)
	})
}

func TestTunnelIdle(t *testing.T) {
	inRig(t, Config{Ping: 30 * time.Second, IdleTimeout: 100 * time.Second}, func(r *rig) {
		go func() { // a client that answers pings and our close
			head := make([]byte, 2)
			for {
				if _, err := io.ReadFull(r.browser, head); err != nil {
					return
				}
				payload := make([]byte, head[1])
				_, _ = io.ReadFull(r.browser, payload)
				op := head[0]
				if op == 0x89 {
					op = 0x8a
				}
				_, _ = r.browser.Write(frame(true, op, payload))
			}
		}()
		time.Sleep(50 * time.Second)
		r.send(r.browser, clientText) // user frames count
		r.expect(r.engine, clientText)
		time.Sleep(50 * time.Second)
		r.send(r.engine, frame(false, 0x89, nil)) // pings do not
		r.expect(r.engine, frame(true, 0x8a, nil))
		op, payload := r.next(r.engine, true)
		if op != 0x88 || binary.BigEndian.Uint16(payload) != 1001 {
			t.Errorf("the engine got %#x % x", op, payload)
		}
		r.send(r.engine, frame(false, 0x88, payload))
		r.ends(ErrIdle, 150*time.Second)
	})
}

func TestTunnelShutdown(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		r.Shutdown(1012, 10*time.Second)
		r.Shutdown(1001, 0) // too late
		_, toBrowser := r.next(r.browser, false)
		_, toEngine := r.next(r.engine, true)
		if binary.BigEndian.Uint16(toBrowser) != 1012 || binary.BigEndian.Uint16(toEngine) != 1012 {
			t.Errorf("codes % x, % x", toBrowser, toEngine)
		}
		time.Sleep(time.Second)
		r.send(r.engine, serverText) // nothing may follow a close
		r.send(r.browser, clientClose)
		r.send(r.engine, serverClose)
		r.expectEnd(r.browser, nil)
		r.expectEnd(r.engine, nil)
		r.ends(nil, time.Second)
	})
}

func TestTunnelShutdownCodes(t *testing.T) {
	for code, want := range map[uint16]uint16{1000: 1000, 1012: 1012, 4999: 4999, 0: 1001, 1005: 1001, 1006: 1001, 1015: 1001, 5000: 1001} {
		inRig(t, Config{}, func(r *rig) {
			r.Shutdown(code, time.Second)
			if _, payload := r.next(r.browser, false); binary.BigEndian.Uint16(payload) != want {
				t.Errorf("%d was sent as % x", code, payload)
			}
		})
	}
}

func TestTunnelShutdownMidFrame(t *testing.T) {
	for _, tc := range []struct {
		name     string
		finishes bool
	}{{"that ends in time", true}, {"that does not", false}} {
		t.Run(tc.name, func(t *testing.T) {
			inRig(t, Config{}, func(r *rig) {
				r.send(r.engine, serverText[:5])
				r.expect(r.browser, serverText[:5])
				r.Shutdown(1001, 10*time.Second)
				if op, _ := r.next(r.engine, true); op != 0x88 {
					t.Errorf("the engine got %#x", op)
				}
				if !tc.finishes {
					r.expectEnd(r.browser, nil) // not a byte within the frame
					r.ends(ErrGrace, 10*time.Second)
					return
				}
				time.Sleep(5 * time.Second)
				r.send(r.engine, append(append([]byte(nil), serverText[5:]...), serverText...))
				r.expect(r.browser, serverText[5:])
				if op, _ := r.next(r.browser, false); op != 0x88 {
					t.Errorf("the browser got %#x", op)
				}
				r.send(r.engine, serverClose)
				r.send(r.browser, clientClose)
				r.expectEnd(r.browser, nil)
				r.ends(nil, 5*time.Second)
			})
		})
	}
}

func TestTunnelShutdownWhileAPongIsHeld(t *testing.T) {
	inRig(t, Config{Ping: 10 * time.Second}, func(r *rig) {
		_, payload := r.next(r.browser, false)
		pong := frame(true, 0x8a, payload)
		r.send(r.browser, pong[:9])
		time.Sleep(time.Second)
		r.Shutdown(1001, 10*time.Second)
		if op, _ := r.next(r.engine, true); op != 0x88 {
			t.Errorf("the engine got %#x", op)
		}
		r.send(r.browser, append(pong[9:], clientClose...))
		r.send(r.engine, serverClose)
		r.expectEnd(r.engine, nil)
		r.ends(nil, 11*time.Second)
	})
}

func TestTunnelFramingBroken(t *testing.T) {
	for _, tc := range []struct {
		name string
		send func(r *rig)
	}{
		{"client", func(r *rig) { r.send(r.browser, serverText) }},
		{"engine", func(r *rig) { r.send(r.engine, []byte("HTTP/1.1 200 OK\r\n\r\n")) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inRig(t, Config{}, func(r *rig) {
				tc.send(r)
				r.expectEnd(r.browser, nil)
				r.expectEnd(r.engine, nil)
				<-r.done
				if _, is := errors.AsType[*FrameError](r.err); !is {
					t.Errorf("ended with %v", r.err)
				}
				if !strings.Contains(r.err.Error(), tc.name) {
					t.Errorf("%v does not say that it was the %s", r.err, tc.name)
				}
			})
		})
	}
}

func TestTunnelCancel(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		time.Sleep(time.Second)
		r.lot.Close()
		r.expectEnd(r.browser, nil)
		r.ends(ErrClosed, time.Second)
	})
}

// What one end had still to say reaches the other after the first has gone half-way.
func TestTunnelLingers(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		r.send(r.browser, clientText)
		if err := r.browser.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			r.Fatal(err)
		}
		r.expectEnd(r.engine, clientText)
		time.Sleep(time.Second)
		r.send(r.engine, serverText)
		r.expectEnd(r.browser, serverText)
		r.ends(nil, linger)
	})
}

// A browser that is closed says nothing more, and that is no error, though the engine
// was still speaking.
func TestTunnelClientLeaves(t *testing.T) {
	inRig(t, Config{}, func(r *rig) {
		r.browser.Close()
		synctest.Wait()
		time.Sleep(time.Second)
		r.send(r.engine, serverText)
		r.ends(nil, time.Second)
	})
}

func TestTunnelClientDoesNotRead(t *testing.T) {
	inRig(t, Config{WriteTimeout: 20 * time.Second}, func(r *rig) {
		go func() {
			b := frame(false, 0x82, make([]byte, 4<<20))
			_, _ = r.engine.Write(b)
		}()
		<-r.done
		if !errors.Is(r.err, os.ErrDeadlineExceeded) || !strings.Contains(r.err.Error(), "write to client") {
			t.Errorf("ended with %v", r.err)
		}
		if r.after < 20*time.Second || r.after > 20*time.Second+slack {
			t.Errorf("after %v", r.after)
		}
	})
}
