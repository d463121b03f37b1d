package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// cluster is nodes on a network in memory. Connections are plain: who is at the
// other end is known by address.
type cluster struct {
	t     *testing.T
	net   *memnet.Net
	mu    sync.Mutex // a node may be added while others run
	nodes []*node
}

// node is one machine with at most one Membership.
type node struct {
	c         *cluster
	host      *memnet.Host
	id        peer.ID
	boot      uint64
	advertise string
	contacts  []string
	m         *Membership
	stopRun   context.CancelFunc
	ran       sync.WaitGroup
	joins     atomic.Int32 // connections to whoever is at an address
	ahead     atomic.Int64 // of the bubble's clock
	hung      sync.Map     // connections that swallow what is written
}

const (
	packetPort = "14747" // the one that is advertised
	streamPort = "14748"
)

// bubble runs fn with n running nodes, each of which has all addresses as
// contacts, and stops what is left.
func bubble(t *testing.T, n int, fn func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop() // after a Fatal too, or the bubble hides its message
		for range n {
			c.add()
		}
		for _, nd := range c.nodes {
			nd.start()
		}
		fn(t, c)
	})
}

func newCluster(t *testing.T) *cluster { return &cluster{t: t, net: memnet.New()} }

// stop stops every node and checks that no connection is left. That no goroutine
// is left is checked by the bubble.
func (c *cluster) stop() {
	c.t.Helper()
	for _, nd := range c.nodes {
		nd.stop()
	}
	if open := c.net.Conns(); open != 0 {
		c.t.Errorf("%d ends of connections left open", open)
	}
}

// add makes a machine that knows those before it and is known to them.
func (c *cluster) add() *node {
	i := len(c.nodes) + 1
	id, err := peer.NewID(rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	nd := &node{c: c, id: id, boot: 1, host: c.net.Host(fmt.Sprintf("node-%d", i), fmt.Sprintf("10.0.0.%d", i))}
	nd.advertise = net.JoinHostPort(nd.host.IP(), packetPort)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, nd)
	for _, other := range c.nodes {
		other.contacts = nil
		for _, contact := range c.nodes {
			other.contacts = append(other.contacts, contact.advertise)
		}
	}
	return nd
}

func (nd *node) known() []string {
	nd.c.mu.Lock()
	defer nd.c.mu.Unlock()
	return nd.contacts // replaced, never changed
}

func (nd *node) config() Config {
	listen := func(port string) net.Listener {
		ln, err := nd.host.Listen(nd.c.t.Context(), "tcp", ":"+port)
		if err != nil {
			nd.c.t.Fatal(err)
		}
		return ln
	}
	return Config{
		Self: nd.id, Boot: nd.boot, Name: nd.host.Name(), Version: "1.2.3", Class: peer.ClassServer,
		Advertise: nd.advertise, Packets: listen(packetPort), Streams: listen(streamPort),
		Dial: nd.dial, PeerOf: nd.c.peerOf, Contacts: nd.known,
		Now: func() time.Time { return time.Now().Add(time.Duration(nd.ahead.Load())) },
		Log: zerolog.Nop(),
	}
}

// start opens and runs the node's Membership.
func (nd *node) start() {
	nd.c.t.Helper()
	m, err := Open(nd.config())
	if err != nil {
		nd.c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	nd.m, nd.stopRun = m, cancel
	nd.ran.Go(func() {
		if err := m.Run(ctx); err != nil && !errors.Is(err, ErrClosed) { // closed before it began
			nd.c.t.Errorf("run: %v", err)
		}
	})
}

// stop closes without a word.
func (nd *node) stop() {
	if nd.m == nil {
		return
	}
	nd.stopRun()
	if err := nd.m.Close(); err != nil {
		nd.c.t.Errorf("close: %v", err)
	}
	nd.ran.Wait()
	nd.m = nil
}

// kill ends the process: connections are reset, nobody is told.
func (nd *node) kill() {
	nd.c.net.Reset(nd.host)
	nd.stop()
}

// dial connects to the port for packets or streams, and insists on whom it meets.
func (nd *node) dial(ctx context.Context, to peer.ID, addr string, stream bool) (net.Conn, error) {
	asked := addr
	if stream {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		addr = net.JoinHostPort(host, streamPort)
	}
	conn, err := nd.host.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if to == "" {
		nd.joins.Add(1)
		if !stream || !slices.Contains(nd.known(), asked) {
			nd.c.t.Errorf("%s dialled %s without saying whom it means", nd.host.Name(), asked)
		}
	}
	if got, _ := nd.c.peerOf(conn); to != "" && got != to {
		conn.Close()
		return nil, fmt.Errorf("met %s instead of %s", got, to)
	}
	hanging := &hangingConn{Conn: conn}
	nd.hung.Store(hanging, nil)
	return hanging, nil
}

// hang makes the connections that the node has opened lose everything from now on,
// as when a firewall has forgotten them. New ones work.
func (nd *node) hang() {
	nd.hung.Range(func(conn, _ any) bool {
		conn.(*hangingConn).hung.Store(true)
		return true
	})
}

type hangingConn struct {
	net.Conn
	hung atomic.Bool
}

func (h *hangingConn) Write(p []byte) (int, error) {
	if h.hung.Load() {
		return len(p), nil
	}
	return h.Conn.Write(p)
}

func (c *cluster) peerOf(conn net.Conn) (peer.ID, bool) {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nd := range c.nodes {
		if nd.host.IP() == host {
			return nd.id, true
		}
	}
	return "", false
}

// status is what nd says of other.
func (nd *node) status(other *node) peer.Status {
	p, ok := nd.m.Peer(other.id)
	if !ok {
		return peer.StatusUnknown
	}
	return p.Status
}

// within waits until ok holds, at most d of virtual time, and returns how long it
// took. It looks ten times a second.
func (c *cluster) within(d time.Duration, what string, ok func() bool) time.Duration {
	c.t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) >= d {
			for _, nd := range c.running() {
				c.t.Logf("%s: %v", nd.host.Name(), nd.describe())
			}
			c.t.Fatalf("after %v: not %s", d, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(began)
}

// settle waits until all running nodes see each other alive, and nothing else.
func (c *cluster) settle(d time.Duration) {
	c.t.Helper()
	c.within(d, "settled", func() bool { return c.agree(c.running()) })
}

// agree reports whether each of nodes sees all of them alive.
func (c *cluster) agree(nodes []*node) bool {
	return !slices.ContainsFunc(nodes, func(a *node) bool {
		return slices.ContainsFunc(nodes, func(b *node) bool {
			p, _ := a.m.Peer(b.id)
			return p.Status != peer.StatusAlive || p.Boot != b.boot
		})
	})
}

func (c *cluster) running() []*node {
	return slices.DeleteFunc(slices.Clone(c.nodes), func(nd *node) bool { return nd.m == nil })
}

func (nd *node) describe() []string {
	var out []string
	for _, p := range nd.m.Peers() {
		out = append(out, fmt.Sprintf("%s.%d %s %s", p.Name, p.Boot, p.Status, p.Addr))
	}
	return out
}

// checkList fails unless the list is sorted, without doubles, and complete.
func (nd *node) checkList() {
	nd.c.t.Helper()
	peers := nd.m.Peers()
	ids := make([]peer.ID, 0, len(peers))
	for _, p := range peers {
		ids = append(ids, p.ID)
	}
	want := make([]peer.ID, 0, len(nd.c.nodes))
	for _, other := range nd.c.nodes {
		want = append(want, other.id)
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, ids); diff != "" {
		nd.c.t.Errorf("%s lists (-want +got):\n%s", nd.host.Name(), diff)
	}
}
