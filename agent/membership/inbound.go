package membership

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// How connections from others are served.
const (
	packetIdle     = 90 * time.Second // longer than the dialler's idleAfter
	packetsPerPeer = 4                // connections for packets; one is normal
	maxStreams     = 64               // at the same time, from all
	maxStreamBytes = 16 << 20         // read from one stream
	acceptPause    = 100 * time.Millisecond
)

// inbound accepts connections and hands what they bring to memberlist.
type inbound struct {
	peerOf  func(net.Conn) (peer.ID, bool)
	packets chan<- *memberlist.Packet
	streams chan<- net.Conn
	metrics *metrics
	log     zerolog.Logger
	done    <-chan struct{}
	wg      sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]bool      // whatever was accepted and not closed
	byPeer map[peer.ID][]net.Conn // for packets, the oldest first
	live   int                    // streams
}

// accept runs handle for each connection of ln, until ln is closed.
func (in *inbound) accept(ln net.Listener, handle func(net.Conn, peer.ID)) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			in.log.Warn().Err(err).Msg("accept failed")
			select {
			case <-time.After(acceptPause): // such as: out of file descriptors
				continue
			case <-in.done:
				return
			}
		}
		id, ok := in.peerOf(conn)
		if !ok {
			in.log.Warn().Str(logs.Addr, conn.RemoteAddr().String()).Msg("connection without a node identity refused")
			conn.Close()
			continue
		}
		if !in.enter(conn) {
			conn.Close()
			return
		}
		handle(conn, id)
	}
}

// enter notes a connection, so that close ends it. It reports false when closed.
func (in *inbound) enter(conn net.Conn) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	select {
	case <-in.done:
		return false
	default:
	}
	in.open[conn] = true
	return true
}

// leave closes a connection.
func (in *inbound) leave(conn net.Conn) error {
	in.mu.Lock()
	delete(in.open, conn)
	in.mu.Unlock()
	return conn.Close()
}

// close ends every connection and waits for the readers. The listeners are closed
// and done is closed already.
func (in *inbound) close() {
	in.mu.Lock()
	conns := make([]net.Conn, 0, len(in.open))
	for conn := range in.open {
		conns = append(conns, conn)
	}
	in.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
	}
	in.wg.Wait()
}

// packet serves a connection for packets.
func (in *inbound) packet(conn net.Conn, id peer.ID) {
	in.evict(conn, id)
	in.wg.Go(func() {
		defer func() { _ = in.leave(conn) }() // whoever it was is gone
		defer in.forget(conn, id)
		if err := in.read(conn); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			in.log.Debug().Err(err).Str(logs.Peer, string(id)).Msg("gossip connection ended")
		}
	})
}

// read hands packets over until the connection ends or is silent for too long.
func (in *inbound) read(conn net.Conn) error {
	r := bufio.NewReader(conn)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(packetIdle)); err != nil {
			return err
		}
		packet, err := readFrame(r)
		if err != nil {
			return err
		}
		in.metrics.packet(directionIn, len(packet))
		select {
		case in.packets <- &memberlist.Packet{Buf: packet, From: conn.RemoteAddr(), Timestamp: time.Now()}:
		case <-in.done:
			return net.ErrClosed
		}
	}
}

// evict closes a peer's oldest connection when it has too many: those that it
// lost without a trace must not add up.
func (in *inbound) evict(conn net.Conn, id peer.ID) {
	in.mu.Lock()
	conns := append(in.byPeer[id], conn)
	var oldest net.Conn
	if len(conns) > packetsPerPeer {
		oldest, conns = conns[0], conns[1:]
	}
	in.byPeer[id] = conns
	in.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
}

func (in *inbound) forget(conn net.Conn, id peer.ID) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var rest []net.Conn
	for _, c := range in.byPeer[id] {
		if c != conn {
			rest = append(rest, c)
		}
	}
	if rest == nil {
		delete(in.byPeer, id)
		return
	}
	in.byPeer[id] = rest
}

// stream hands a connection to memberlist, which closes it.
func (in *inbound) stream(conn net.Conn, id peer.ID) {
	in.mu.Lock()
	full := in.live >= maxStreams
	if !full {
		in.live++
	}
	in.mu.Unlock()
	if full {
		in.log.Warn().Str(logs.Peer, string(id)).Msg("too many gossip streams, one refused")
		_ = in.leave(conn) // never listened to
		return
	}
	s := newStream(conn, func() error {
		in.mu.Lock()
		in.live--
		in.mu.Unlock()
		return in.leave(conn)
	})
	select {
	case in.streams <- s:
	case <-in.done:
		s.Close()
	}
}

// stream is a connection whose reader gets a bounded number of bytes.
type stream struct {
	net.Conn
	limited io.Reader
	once    sync.Once
	onClose func() error
}

func newStream(conn net.Conn, onClose func() error) *stream {
	return &stream{Conn: conn, limited: io.LimitReader(conn, maxStreamBytes), onClose: onClose}
}

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) { return s.limited.Read(p) }

// Close implements net.Conn.
func (s *stream) Close() (err error) {
	s.once.Do(func() { err = s.onClose() })
	return err
}
