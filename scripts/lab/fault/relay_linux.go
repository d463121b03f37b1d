package fault

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/lab/world"
)

const (
	relayMark   = 0x75 // of the relay's own packets, which are not led to it again
	relayDial   = 3 * time.Second
	relayChunk  = 16 << 10
	relayChunks = 256 // on their way in one direction
	origDst     = 80  // SO_ORIGINAL_DST of linux/netfilter_ipv4.h
)

// relay accepts the connections that rules lead to it, and passes on what they carry,
// each byte after a time.
type relay struct {
	node    *world.Node
	delay   time.Duration
	ln      net.Listener
	carried atomic.Int64 // bytes

	mu    sync.Mutex
	conns map[net.Conn]bool // nil: closed
	wg    sync.WaitGroup
}

func openRelay(n *world.Node, delay time.Duration) (*relay, error) {
	r := &relay{node: n, delay: delay, conns: map[net.Conn]bool{}}
	err := n.Here(func() (err error) {
		r.ln, err = net.Listen("tcp4", "0.0.0.0:0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open relay: %w", err)
	}
	r.wg.Go(r.accept)
	return r, nil
}

func (r *relay) port() int { return r.ln.Addr().(*net.TCPAddr).Port }

func (r *relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return // closed
		}
		if r.track(c) {
			r.wg.Go(func() { r.serve(c) })
		}
	}
}

// track notes a connection, so that close ends it.
func (r *relay) track(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		c.Close()
		return false
	}
	r.conns[c] = true
	return true
}

func (r *relay) serve(c net.Conn) {
	defer c.Close()
	to, err := originalTo(c)
	if err != nil {
		return
	}
	var out net.Conn
	err = r.node.Here(func() (err error) {
		d := net.Dialer{Timeout: relayDial, Control: func(_, _ string, raw syscall.RawConn) error {
			var failed error
			if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, relayMark) }); err != nil {
				return err
			}
			return failed
		}}
		out, err = d.Dial("tcp4", to.String())
		return err
	})
	if err != nil || !r.track(out) {
		return // as a connection that breaks
	}
	defer out.Close()
	var wg sync.WaitGroup
	wg.Go(func() { r.pass(c, out) })
	wg.Go(func() { r.pass(out, c) })
	wg.Wait()
}

// originalTo is where the connection was going before it was led here.
func originalTo(c net.Conn) (netip.AddrPort, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var got *unix.IPv6Mreq // of the size of a struct sockaddr_in
	var failed error
	if err := raw.Control(func(fd uintptr) { got, failed = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, origDst) }); err != nil {
		return netip.AddrPort{}, err
	}
	if failed != nil {
		return netip.AddrPort{}, failed
	}
	b := got.Multiaddr
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:4])), nil
}

type chunk struct {
	due  time.Time
	data []byte
}

// pass copies one direction. Its end ends both.
func (r *relay) pass(from, to net.Conn) {
	queue := make(chan chunk, relayChunks)
	var wg sync.WaitGroup
	wg.Go(func() {
		broken := false
		for c := range queue {
			if broken {
				continue
			}
			time.Sleep(time.Until(c.due))
			n, err := to.Write(c.data)
			r.carried.Add(int64(n))
			if broken = err != nil; broken {
				from.Close()
			}
		}
	})
	for {
		buf := make([]byte, relayChunk)
		n, err := from.Read(buf)
		if n > 0 {
			queue <- chunk{time.Now().Add(r.delay), buf[:n]}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	wg.Wait()
	to.Close()
	from.Close()
}

// drop ends all connections, and each new one at once.
func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func (r *relay) close() {
	r.ln.Close()
	r.drop()
	r.wg.Wait()
}
