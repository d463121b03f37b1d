package identity

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
	"github.com/ushercluster/usher/transport/memnet"
)

// port is what the cluster port does for joins: TLS 1.3, this ALPN, no tickets.
func port(chain [][]byte, n Node, proto string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{proto}, SessionTicketsDisabled: true,
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: n.Key}},
	}
}

// cluster is one server that lets nodes in, and remembers whom.
type cluster struct {
	t     *testing.T
	ca    *CA
	node  Node
	token JoinToken

	mu      sync.Mutex
	seen    []JoinRequest
	keys    map[[32]byte]int // requests by public key
	refuse  []*JoinError     // the next answers
	distort func(*JoinAnswer)
}

func newCluster(t *testing.T, uuid, name string) *cluster {
	t.Helper()
	ca := testCA(t, uuid, name, time.Now())
	token, err := NewJoinToken(stream(1), ca.Fingerprint())
	if err != nil {
		t.Fatal(err)
	}
	return &cluster{
		t: t, ca: ca, token: token, keys: make(map[[32]byte]int),
		node: testNode(t, ca, testPending(t, "ssssssssssssssss"), peer.ClassServer, time.Now()),
	}
}

func (c *cluster) keeper() Doorkeeper { return Doorkeeper{Admit: c.admit, Removed: nobody} }

func nobody(peer.ID) bool { return false }

func (c *cluster) admit(_ context.Context, r JoinRequest, _ net.Addr) (JoinAnswer, *JoinError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, r)
	if !r.Time.Equal(time.Now()) {
		c.t.Errorf("the request of %s arrives at %s", r.Time, time.Now())
	}
	if len(c.refuse) > 0 {
		e := c.refuse[0]
		c.refuse = c.refuse[1:]
		return JoinAnswer{}, e
	}
	if hash := c.token.Hash(); !r.MatchHash(hash[:]) {
		return JoinAnswer{}, &JoinError{Code: JoinBadToken, Message: "the join token is unknown"}
	}
	hash, err := r.KeyHash()
	if err != nil {
		c.t.Error(err)
	}
	c.keys[hash]++
	leaf, err := c.ca.Issue(r.CSR, transport.Identity{Cluster: c.ca.Cluster(), Class: r.Class, ID: r.NodeID}, time.Now(), year)
	if err != nil {
		return JoinAnswer{}, &JoinError{Code: JoinInternal, Message: err.Error()}
	}
	a := JoinAnswer{
		ClusterID: c.ca.Cluster(), ClusterName: "renamed", NodeName: r.Name,
		Chain: [][]byte{leaf, c.ca.CertDER()}, Roots: [][]byte{c.ca.CertDER()},
		Contacts: []string{"10.0.0.1:14747"}, Warnings: []string{"mind the gap"},
	}
	if c.distort != nil {
		c.distort(&a)
	}
	return a, nil
}

// serve answers joins on a host until the test ends.
func (c *cluster) serve(ctx context.Context, h *memnet.Host, wg *sync.WaitGroup) {
	c.t.Helper()
	raw, err := h.Listen(ctx, "tcp", ":"+defaultPort)
	if err != nil {
		c.t.Fatal(err)
	}
	ln := tls.NewListener(raw, port(c.node.Chain, c.node, string(transport.ProtoJoin)))
	wg.Go(func() {
		if err := ServeJoins(ctx, ln, c.keeper(), zerolog.Nop()); err != nil {
			c.t.Errorf("serve joins: %v", err)
		}
	})
}

// lab is a joiner and a network, in a bubble.
type lab struct {
	t      *testing.T
	ctx    context.Context
	stop   context.CancelFunc
	net    *memnet.Net
	server *memnet.Host
	joiner *memnet.Host
	wg     sync.WaitGroup
	dir    *Dir
	said   []string
}

func inLab(t *testing.T, test func(t *testing.T, l *lab)) {
	t.Helper()
	dir := testDir(t)
	synctest.Test(t, func(t *testing.T) {
		l := &lab{t: t, net: memnet.New(), dir: dir}
		l.server, l.joiner = l.net.Host("alpha", "10.0.0.1"), l.net.Host("beta", "10.0.0.2")
		l.ctx, l.stop = context.WithCancel(t.Context())
		test(t, l)
		l.stop()
		l.wg.Wait()
		if n := l.net.Conns(); n != 0 {
			t.Errorf("%d connection ends are left open", n)
		}
	})
}

func (l *lab) config(token JoinToken, addrs ...string) JoinConfig {
	l.t.Helper()
	p, err := l.dir.Prepare(token.ID(), time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return JoinConfig{
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return l.joiner.DialContext(ctx, "tcp", addr)
		},
		Lookup: l.joiner.LookupHost, Addrs: addrs, Token: token, Pending: p,
		Request: JoinRequest{
			Name: "node-b", Class: peer.ClassServer, Advertise: "10.0.0.2:14747", Door: "10.0.0.2:8080",
			Boot: 1, Nonce: []byte{1}, FeatureLevel: 1, UsherVersion: "1.0.0",
		},
		Log: zerolog.Nop(), Progress: func(s string) { l.said = append(l.said, s) },
	}
}

// impostor takes the server's port for one connection, then the cluster has it.
func impostor(l *lab, handle func(net.Conn), then *cluster) {
	ln, err := l.server.Listen(l.ctx, "tcp", ":"+defaultPort)
	if err != nil {
		l.t.Fatal(err)
	}
	l.wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			l.t.Error(err)
			return
		}
		handle(conn)
		_ = conn.Close()
		_ = ln.Close()
		if then != nil {
			then.serve(l.ctx, l.server, &l.wg)
		}
	})
}
