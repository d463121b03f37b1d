package door

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// bareEngine is an engine on a real socket that allocates nothing for a request.
type bareEngine struct{ l net.Listener }

func newBareEngine(tb testing.TB) *bareEngine {
	e := &bareEngine{listen(tb)}
	go func() {
		for {
			c, err := e.l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				b := make([]byte, 8<<10)
				answer := []byte(cleanAnswer)
				for at := 0; ; {
					n, err := c.Read(b[at:])
					if err != nil {
						return
					}
					if at += n; bytes.Contains(b[:at], []byte("\r\n\r\n")) {
						at = 0
						if _, err := c.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return e
}

func (e *bareEngine) Name() string { return "app" }
func (e *bareEngine) Host() string { return e.l.Addr().String() }
func (e *bareEngine) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", e.Host())
}
func (e *bareEngine) Health() (peer.Health, time.Time) { return peer.Healthy, time.Time{} }
func (e *bareEngine) MaxSessions() int                 { return 0 }
func (e *bareEngine) HostHeader() string               { return "" }

func listen(tb testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// pair is two doors on real sockets; the engine is beside the second.
type pair struct {
	doors [2]*Door
	users [2]net.Listener
}

func newPair(tb testing.TB) *pair { return newPairWith(tb, func(*Config) {}) }

// newPairWith lets change see the configuration of either door.
func newPairWith(tb testing.TB, change func(*Config)) *pair {
	return newPairBeside(tb, newBareEngine(tb), change)
}

// newPairBeside has that engine beside the second door.
func newPairBeside(tb testing.TB, engine Engine, change func(*Config)) *pair {
	ids := [2]peer.ID{peer.ID(strings.Repeat("a", 16)), peer.ID(strings.Repeat("b", 16))}
	p := &pair{users: [2]net.Listener{listen(tb), listen(tb)}}
	peers := [2]net.Listener{listen(tb), listen(tb)}
	dir := &Directory{Nodes: map[peer.ID]NodeInfo{}, Engines: []placement.Candidate{{
		Engine: peer.MakeEngineID(ids[1], "app"), Status: peer.StatusAlive, State: peer.StateActive, Health: peer.Healthy,
	}}}
	for _, id := range ids {
		dir.Nodes[id] = NodeInfo{Name: string(id[:1]), Status: peer.StatusAlive, State: peer.StateActive, Reported: time.Now()}
	}
	settings := DefaultSettings()
	for i := range p.doors {
		cfg := Config{
			Self: ids[i], Users: p.users[i], Registerer: prometheus.NewRegistry(),
			Peers: Peers{Listener: peers[i], Remote: func(net.Conn) peer.ID { return ids[1-i] },
				Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
					return new(net.Dialer).DialContext(ctx, "tcp", peers[1-i].Addr().String())
				}},
			Directory: func() *Directory { return dir }, Settings: func() *Settings { return settings },
			Keys: func() []Key { return keyRing },
		}
		if i == 1 {
			cfg.Local = []Engine{engine}
		}
		change(&cfg)
		d, err := Open(cfg)
		if err != nil {
			tb.Fatal(err)
		}
		p.doors[i] = d
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- d.Run(ctx) }()
		tb.Cleanup(func() { cancel(); <-done })
	}
	return p
}

var keyRing = []Key{{ID: 7, Key: [32]byte{1, 2, 3}}}

// visitor sends requests of one session to a door, and allocates nothing for it.
type visitor struct {
	tb      testing.TB
	c       net.Conn
	request []byte
	buf     []byte
}

func (p *pair) visitor(tb testing.TB, at int) *visitor { return p.visitorVia(tb, at, "") }

// visitorVia comes through a proxy that sends that header.
func (p *pair) visitorVia(tb testing.TB, at int, header string) *visitor {
	c, err := net.Dial("tcp", p.users[at].Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	if _, err := c.Write([]byte(header)); err != nil {
		tb.Fatal(err)
	}
	v := &visitor{tb: tb, c: c, buf: make([]byte, 8<<10)}
	v.request = []byte("GET /doc/sales/x HTTP/1.1\r\nHost: app\r\n\r\n")
	first := string(v.visit())
	_, cookie, ok := strings.Cut(first, "Set-Cookie: ")
	if !ok {
		tb.Fatalf("no cookie in %q", first)
	}
	cookie, _, _ = strings.Cut(cookie, ";")
	v.request = []byte("GET /doc/sales/x HTTP/1.1\r\nHost: app\r\nUser-Agent: bench\r\nAccept: */*\r\nCookie: a=b; " + cookie + "\r\n\r\n")
	for range 3 {
		v.visit()
	}
	return v
}

// visit sends a request and gives the answer, which holds until the next.
func (v *visitor) visit() []byte {
	if _, err := v.c.Write(v.request); err != nil {
		v.tb.Fatal(err)
	}
	for at := 0; ; {
		n, err := v.c.Read(v.buf[at:])
		if at += n; err != nil {
			v.tb.Fatal(err)
		}
		if bytes.HasSuffix(v.buf[:at], []byte("\r\n\r\nok")) {
			return v.buf[:at]
		}
	}
}

func TestExpressAllocatesNothing(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	p := newPair(t)
	for at, where := range []string{"remote", "local"} {
		v := p.visitor(t, at)
		if n := testing.AllocsPerRun(2000, func() { v.visit() }); n > 0 {
			t.Errorf("%s: %v allocations for a request", where, n)
		}
	}
}

func BenchmarkExpress(b *testing.B) {
	p := newPair(b)
	for at, where := range []string{"remote", "local"} {
		b.Run(where, func(b *testing.B) {
			v := p.visitor(b, at)
			b.ReportAllocs()
			for b.Loop() {
				v.visit()
			}
		})
	}
}
