package tunnel

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

const canPark = true

// An end that reads nothing holds up the other one, and is cut when it makes no progress.
func TestParkedStalled(t *testing.T) {
	for _, stalled := range []string{"client", "engine"} {
		t.Run(stalled, func(t *testing.T) {
			onSockets(t, Config{WriteTimeout: 20 * time.Second}, func(f *field) {
				if strings.HasSuffix(f.Name(), "pumped") {
					f.Skip("deadlines of sockets know no clock but the machine's")
				}
				src, masked := f.engine, false
				if stalled == "engine" {
					src, masked = f.browser, true
				}
				b := frame(masked, 0x82, make([]byte, 64<<20))
				_ = src.SetWriteDeadline(time.Now().Add(time.Second))
				if n, err := src.Write(b); err == nil {
					f.Fatalf("%d bytes were taken though nobody reads them", n)
				}
				f.clock.pass(19 * time.Second)
				f.nudge()
				select {
				case <-f.done:
					f.Fatalf("cut too early: %v", f.err)
				default:
				}
				f.clock.pass(2 * time.Second)
				f.ended() // the loop looks once a second
				if !strings.Contains(f.err.Error(), "write to "+stalled) || !errors.Is(f.err, os.ErrDeadlineExceeded) {
					f.Errorf("ended with %v", f.err)
				}
			})
		})
	}
}

// An end that has been reset while it was not being read does not keep the loop busy.
func TestParkedResetWhileHeldUp(t *testing.T) {
	onSockets(t, Config{}, func(f *field) {
		_ = f.engine.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = f.engine.Write(frame(false, 0x82, make([]byte, 64<<20)))
		_ = f.engine.(*net.TCPConn).SetLinger(0)
		f.engine.Close()
		if strings.HasSuffix(f.Name(), "pumped") {
			f.browser.Close() // a pump that writes learns of nothing else
		}
		f.ended()
	})
}

// Of many tunnels in a lot each gets its own, also where places are used again.
func TestParkedPlacesAreUsedAgain(t *testing.T) {
	lot := Open(nil)
	defer lot.Close()
	for round := range 20 {
		type one struct {
			browser, engine net.Conn
			done            chan struct{}
		}
		var all []one
		for range 10 {
			o := one{done: make(chan struct{})}
			var cfg Config
			o.browser, cfg.Client = sockets(t)
			cfg.Server, o.engine = sockets(t)
			cfg.End = func(Stats, error) { close(o.done) }
			lot.Start(cfg, nil)
			all = append(all, o)
		}
		for i, o := range all {
			text := frame(true, 0x82, []byte{byte(round), byte(i)})
			_, _ = o.browser.Write(text)
			got := make([]byte, len(text))
			if _, err := o.engine.Read(got); err != nil || string(got) != string(text) {
				t.Fatalf("round %d, tunnel %d: % x (%v), want % x", round, i, got, err, text)
			}
		}
		for i, o := range all {
			if i%2 == round%2 {
				o.browser.Close()
				o.engine.Close()
				<-o.done
			}
		}
	}
	for _, lp := range lot.parking.loops {
		if n := len(lp.slots); n > 200 {
			t.Errorf("%d places for 110 tunnels", n)
		}
	}
}

// A TLS connection is not taken for what is below it.
func TestTLSIsNotParked(t *testing.T) {
	a, _ := sockets(t)
	lot := Open(nil)
	defer lot.Close()
	for _, nc := range []net.Conn{tls.Client(a, new(tls.Config)), wrapped{a}} {
		if lot.parking.take(lot, newTunnel(&Config{}, time.Now), &Config{Client: nc, Server: a}) {
			t.Errorf("%T would be parked", nc)
		}
	}
}
