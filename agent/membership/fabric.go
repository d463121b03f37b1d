package membership

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
)

// streamTimeout bounds each step of a stream: dial, write, read.
const streamTimeout = 5 * time.Second

// errNoAddress means that a node is known by name only.
var errNoAddress = errors.New("no address is known for the node")

// fabric is memberlist's transport over connections. It resolves memberlist's
// names to nodes, so that Dial can insist on whom it reaches.
type fabric struct {
	cfg     Config
	book    *book
	metrics *metrics
	pool    *pool
	in      *inbound
	pings   pings
	packets chan *memberlist.Packet
	streams chan net.Conn

	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	accept sync.WaitGroup

	mu     sync.Mutex
	joins  map[string]net.Conn // dialled by join, by the name that memberlist will ask for
	joined int                 // names given out
}

var _ memberlist.NodeAwareTransport = (*fabric)(nil)

// openFabric serves the listeners, which it owns from now on.
func openFabric(cfg Config, b *book, m *metrics, log zerolog.Logger) *fabric {
	ctx, cancel := context.WithCancel(context.Background())
	f := &fabric{
		cfg: cfg, book: b, metrics: m,
		packets: make(chan *memberlist.Packet),
		streams: make(chan net.Conn),
		ctx:     ctx, cancel: cancel,
		joins: make(map[string]net.Conn),
	}
	f.pool = newPool(func(ctx context.Context, to peer.ID, addr string) (net.Conn, error) {
		return cfg.Dial(ctx, to, addr, false)
	}, m, log)
	f.in = &inbound{
		peerOf: cfg.PeerOf, packets: f.packets, streams: f.streams, metrics: m, log: log, done: ctx.Done(),
		open: make(map[net.Conn]bool), byPeer: make(map[peer.ID][]net.Conn),
	}
	f.accept.Go(func() { f.in.accept(cfg.Packets, f.in.packet) })
	f.accept.Go(func() { f.in.accept(cfg.Streams, f.in.stream) })
	return f
}

// Shutdown implements memberlist.Transport: everything is closed and every
// goroutine has ended when it returns.
func (f *fabric) Shutdown() error {
	f.in.mu.Lock()
	f.cancel() // under the lock of enter: nothing is noted afterwards
	f.in.mu.Unlock()
	err := errors.Join(f.settle(), closeAll(f.cfg.Packets, f.cfg.Streams))
	f.accept.Wait()
	f.in.close()
	f.pool.close()
	return err
}

// resolve finds the node that memberlist means and where it is reached.
// superseded means that a later boot of the node is known.
func (f *fabric) resolve(a memberlist.Address) (to where, superseded bool, err error) {
	id, boot, ok := parseName(a.Name)
	if !ok {
		return where{}, false, fmt.Errorf("node name %q is malformed", a.Name)
	}
	addr, current := f.book.addr(id, boot)
	if addr == "" {
		host, _, err := net.SplitHostPort(a.Addr)
		if err != nil || net.ParseIP(host).Equal(placeholder()) {
			return where{}, false, fmt.Errorf("%w: %s", errNoAddress, id)
		}
		addr = a.Addr
	}
	return where{id, addr}, !current, nil
}

// WriteToAddress implements memberlist.NodeAwareTransport. It never waits. What
// cannot be sent is dropped without an error: an error would end memberlist's
// probe without its being counted against the node.
func (f *fabric) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	if !f.pings.note(b) {
		return time.Time{}, net.ErrClosed
	}
	to, superseded, err := f.resolve(a)
	switch {
	case err != nil, len(b) == 0, len(b) > maxFrame:
		f.metrics.drop(droppedAddress, 1)
		return time.Now(), nil
	case superseded: // nobody is there any more, and its successor would wonder
		return time.Now(), nil
	}
	return time.Now(), f.pool.send(to, bytes.Clone(b)) // memberlist keeps b
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (f *fabric) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	if conn := f.dialled(a.Name); conn != nil {
		return conn, nil
	}
	to, _, err := f.resolve(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(f.ctx, timeout)
	defer cancel()
	conn, err := f.cfg.Dial(ctx, to.id, to.addr, true)
	if err != nil {
		f.metrics.dialsFailed.WithLabelValues(dialStream).Inc()
		return nil, fmt.Errorf("dial: %w", err)
	}
	return f.outgoing(conn)
}

// outgoing bounds a stream that we opened, and ends it at Shutdown.
func (f *fabric) outgoing(conn net.Conn) (net.Conn, error) {
	if !f.in.enter(conn) {
		conn.Close()
		return nil, net.ErrClosed
	}
	return newStream(conn, func() error { return f.in.leave(conn) }), nil
}

// offer keeps a stream to an address until memberlist dials the name that is
// returned. memberlist would resolve DNS names itself, and ignore deadlines.
func (f *fabric) offer(conn net.Conn) (name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.joined++
	name = "join " + strconv.Itoa(f.joined)
	f.joins[name] = conn
	return name
}

// dialled takes what was offered under a name.
func (f *fabric) dialled(name string) net.Conn {
	f.mu.Lock()
	defer f.mu.Unlock()
	conn := f.joins[name]
	delete(f.joins, name)
	return conn
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (f *fabric) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return advertised(f.cfg.Advertise)
}

// PacketCh implements memberlist.Transport.
func (f *fabric) PacketCh() <-chan *memberlist.Packet { return f.packets }

// StreamCh implements memberlist.Transport.
func (f *fabric) StreamCh() <-chan net.Conn { return f.streams }

// WriteTo implements memberlist.Transport. It is not called, because every
// address has a name.
func (f *fabric) WriteTo([]byte, string) (time.Time, error) { return time.Time{}, errNoAddress }

// DialTimeout implements memberlist.Transport. It is not called either.
func (f *fabric) DialTimeout(string, time.Duration) (net.Conn, error) { return nil, errNoAddress }
