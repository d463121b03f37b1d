package door

import (
	"bufio"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/agent/peer"
)

// sockEngine answers every request with a WebSocket, and keeps nothing of it in Go's memory
// but the number of its descriptor.
type sockEngine struct {
	l  net.Listener
	mu sync.Mutex
	// fds are the open WebSockets.
	fds []int
}

func newSockEngine(tb testing.TB) *sockEngine {
	e := &sockEngine{l: listen(tb)}
	go func() {
		for {
			c, err := e.l.Accept()
			if err != nil {
				return
			}
			e.upgrade(c)
		}
	}()
	tb.Cleanup(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, fd := range e.fds {
			_ = unix.Close(fd)
		}
	})
	return e
}

func (e *sockEngine) upgrade(c net.Conn) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Accept: "+base64.StdEncoding.EncodeToString(sum[:])+"\r\n\r\n")
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); err == nil {
			e.mu.Lock()
			e.fds = append(e.fds, own)
			e.mu.Unlock()
		}
	})
}

func (e *sockEngine) Name() string { return "app" }
func (e *sockEngine) Host() string { return e.l.Addr().String() }
func (e *sockEngine) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", e.Host())
}
func (e *sockEngine) Health() (peer.Health, time.Time) { return peer.Healthy, time.Time{} }
func (e *sockEngine) MaxSessions() int                 { return 0 }
func (e *sockEngine) HostHeader() string               { return "" }

// rawWebSocket opens a WebSocket, in a new session, without Go's network.
func rawWebSocket(tb testing.TB, to string) (fd int) {
	a := netip.MustParseAddrPort(to)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	}
	if err == nil {
		_, err = unix.Write(fd, []byte("GET /ws HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
	}
	var b [4 << 10]byte
	n := 0
	for err == nil && !strings.Contains(string(b[:n]), "\r\n\r\n") {
		var m int
		if m, err = unix.Read(fd, b[n:]); m == 0 && err == nil {
			err = io.ErrUnexpectedEOF
		}
		n += m
	}
	if err != nil || !strings.Contains(string(b[:n]), " 101 ") {
		tb.Fatalf("%v: %q", err, b[:n])
	}
	return fd
}

// memory is what the process holds on its heap, in bytes, without what can be let go.
func memory() int64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An idle WebSocket in cleartext, its session with it, takes less than 1.35 KB.
func TestIdleWebSocketIsSmall(t *testing.T) {
	if raceOn {
		t.Skip("the race detector takes memory")
	}
	const n = 1000
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur < 5*n {
		t.Skipf("%d descriptors are too few (%v)", files.Cur, err)
	}
	p := newPairBeside(t, newSockEngine(t), func(*Config) {})
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	open := func(n int) {
		for range n {
			fds = append(fds, rawWebSocket(t, p.users[1].Addr().String()))
		}
	}
	open(100)
	before, goroutines := memory(), runtime.NumGoroutine()
	open(n)
	each := (memory() - before) / n
	t.Logf("%d bytes each", each)
	if each > 1350 {
		t.Errorf("%d bytes each, want at most 1350", each)
	}
	if more := runtime.NumGoroutine() - goroutines; more > n/10 {
		t.Errorf("%d goroutines for %d WebSockets", more, n)
	}
	if got := p.doors[1].sockets.count(); got != n+100 {
		t.Errorf("%d WebSockets are open", got)
	}
}
