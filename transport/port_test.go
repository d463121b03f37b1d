package transport_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
	"github.com/ushercluster/usher/transport/memnet"
)

// world is a network with the CAs of two clusters.
type world struct {
	t    *testing.T
	net  *memnet.Net
	ours *identity.CA
	them *identity.CA
}

const (
	clusterA = "11111111-1111-4111-8111-111111111111"
	clusterB = "22222222-2222-4222-8222-222222222222"
)

func newWorld(t *testing.T) *world {
	w := &world{t: t, net: memnet.New()}
	var err, err2 error
	w.ours, err = identity.NewCA(clusterA, "a", time.Now())
	w.them, err2 = identity.NewCA(clusterB, "b", time.Now())
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return w
}

func nodeID(c byte) peer.ID { return peer.ID(strings.Repeat(string(c), 16)) }

// cert issues a certificate and the roots that go with it.
func (w *world) cert(ca *identity.CA, id transport.Identity) (tls.Certificate, []*x509.Certificate) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		w.t.Fatal(err)
	}
	leaf, err := ca.Issue(csr, id, time.Now(), time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := x509.ParseCertificate(ca.CertDER())
	if err != nil {
		w.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf, ca.CertDER()}, PrivateKey: key}, []*x509.Certificate{root}
}

// port opens and runs a port; closing it is the caller's.
func (w *world) port(host *memnet.Host, ca *identity.CA, id transport.Identity, removed func(peer.ID) bool) (*transport.Port, func()) {
	w.t.Helper()
	creds := transport.NewCredentials(removed, nil)
	if err := creds.Set(w.cert(ca, id)); err != nil {
		w.t.Fatal(err)
	}
	p, err := transport.Open(w.t.Context(), transport.Config{Network: host, Addr: ":14747", Credentials: creds, Log: zerolog.Nop()})
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan error)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- p.Run(ctx) }()
	return p, func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		if err := p.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

func serverID(c byte) transport.Identity {
	return transport.Identity{Cluster: clusterA, Class: peer.ClassServer, ID: nodeID(c)}
}

// greet accepts on a protocol and writes who called; it reads nothing.
func greet(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		id, _ := transport.PeerOf(c)
		_, _ = io.WriteString(c, "hello "+string(id.ID))
		c.Close()
	}
}

func TestPortConnectsNodesOfOneCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, closeA := w.port(w.net.Host("a", "10.0.0.1"), w.ours, serverID('a'), nil)
		b, closeB := w.port(w.net.Host("b", "10.0.0.2"), w.ours, serverID('b'), nil)
		go greet(b.Listen(transport.ProtoAPI))
		c, err := a.Dial(t.Context(), transport.Target{ID: nodeID('b'), Addr: "10.0.0.2:14747"}, transport.ProtoAPI)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		if string(got) != "hello "+string(nodeID('a')) {
			t.Fatalf("got %q: the accepted side does not know who called", got)
		}
		if id, ok := transport.PeerOf(c); !ok || id.ID != nodeID('b') {
			t.Fatalf("the dialling side takes the other for %v", id)
		}
		c.Close()
		closeA()
		closeB()
		if n := w.net.Conns(); n != 0 || a.Conns()+b.Conns() != 0 {
			t.Fatalf("%d connections are left", n)
		}
	})
}

func TestPortRefuses(t *testing.T) {
	cases := []struct {
		name  string
		ca    func(w *world) *identity.CA
		id    transport.Identity
		proto transport.Proto
		to    transport.Target
	}{
		{"another cluster", func(w *world) *identity.CA { return w.them }, transport.Identity{Cluster: clusterB, Class: peer.ClassServer, ID: nodeID('c')}, transport.ProtoAPI, transport.Target{}},
		{"an edge that speaks raft", func(w *world) *identity.CA { return w.ours }, transport.Identity{Cluster: clusterA, Class: peer.ClassEdge, ID: nodeID('c')}, transport.ProtoRaft, transport.Target{}},
		{"a removed node", func(w *world) *identity.CA { return w.ours }, serverID('r'), transport.ProtoAPI, transport.Target{}},
		{"a protocol that nobody listens for", func(w *world) *identity.CA { return w.ours }, serverID('c'), transport.ProtoPulse, transport.Target{}},
		{"another node than was meant", func(w *world) *identity.CA { return w.ours }, serverID('c'), transport.ProtoAPI, transport.Target{ID: nodeID('x')}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				b, closeB := w.port(w.net.Host("b", "10.0.0.2"), w.ours, serverID('b'), func(id peer.ID) bool { return id == nodeID('r') })
				var accepted atomic.Int32
				for _, proto := range []transport.Proto{transport.ProtoAPI, transport.ProtoRaft} {
					ln := b.Listen(proto)
					go func() {
						for {
							c, err := ln.Accept()
							if err != nil {
								return
							}
							if tc.to.ID == "" {
								accepted.Add(1)
							}
							c.Close()
						}
					}()
				}
				c, closeC := w.port(w.net.Host("c", "10.0.0.3"), tc.ca(w), tc.id, nil)
				tc.to.Addr = "10.0.0.2:14747"
				conn, err := c.Dial(t.Context(), tc.to, tc.proto)
				if err == nil {
					// TLS 1.3: the client ends its handshake before the server has judged it.
					_, err = io.ReadFull(conn, make([]byte, 1))
					conn.Close()
				}
				if err == nil || errors.Is(err, io.EOF) {
					t.Fatalf("error %v, want a refusal", err)
				}
				closeC()
				closeB()
				if accepted.Load() != 0 {
					t.Fatal("a listener was handed the refused connection")
				}
			})
		})
	}
}

// TestPortHello throws hellos at the port that no agent sends.
func TestPortHello(t *testing.T) {
	cases := []struct {
		name string
		cfg  func(cert tls.Certificate, roots *x509.CertPool) *tls.Config
		ok   bool
	}{
		{"no certificate", func(_ tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, NextProtos: []string{string(transport.ProtoAPI)}}
		}, false},
		{"no certificate, for a join", func(_ tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, NextProtos: []string{string(transport.ProtoJoin)}}
		}, true},
		{"no protocol", func(c tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, Certificates: []tls.Certificate{c}}
		}, false},
		{"two protocols", func(c tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, Certificates: []tls.Certificate{c}, NextProtos: []string{string(transport.ProtoAPI), string(transport.ProtoRaft)}}
		}, false},
		{"an unknown protocol", func(c tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, Certificates: []tls.Certificate{c}, NextProtos: []string{"h2"}}
		}, false},
		{"TLS 1.2", func(c tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, Certificates: []tls.Certificate{c}, MaxVersion: tls.VersionTLS12, NextProtos: []string{string(transport.ProtoAPI)}}
		}, false},
		{"as it should be", func(c tls.Certificate, r *x509.CertPool) *tls.Config {
			return &tls.Config{RootCAs: r, Certificates: []tls.Certificate{c}, NextProtos: []string{string(transport.ProtoAPI)}}
		}, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				p, closePort := w.port(w.net.Host("b", "10.0.0.2"), w.ours, serverID('b'), nil)
				go greet(p.Listen(transport.ProtoAPI))
				go greet(p.Listen(transport.ProtoJoin))
				go greet(p.Listen(transport.ProtoRaft))
				raw, err := w.net.Host("c", "10.0.0.3").DialContext(t.Context(), "tcp", "10.0.0.2:14747")
				if err != nil {
					t.Fatal(err)
				}
				cert, roots := w.cert(w.ours, serverID('c'))
				pool := x509.NewCertPool()
				pool.AddCert(roots[0])
				cfg := tc.cfg(cert, pool)
				cfg.ServerName = serverID('b').NodeName()
				got, err := io.ReadAll(tls.Client(raw, cfg))
				if ok := err == nil && strings.HasPrefix(string(got), "hello"); ok != tc.ok {
					t.Fatalf("got %q, %v", got, err)
				}
				raw.Close()
				closePort()
			})
		})
	}
}

func TestSilentClientIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p, closePort := w.port(w.net.Host("b", "10.0.0.2"), w.ours, serverID('b'), nil)
		go greet(p.Listen(transport.ProtoAPI))
		raw, err := w.net.Host("c", "10.0.0.3").DialContext(t.Context(), "tcp", "10.0.0.2:14747")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		got, _ := io.ReadAll(raw)
		if took := time.Since(began); took != transport.HandshakeTimeout {
			t.Fatalf("cut off after %v, want %v", took, transport.HandshakeTimeout)
		}
		if len(got) != 0 {
			t.Fatalf("%d bytes were written to a stranger", len(got))
		}
		closePort()
	})
}

func TestRemovedNodeIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		a, closeA := w.port(w.net.Host("a", "10.0.0.1"), w.ours, serverID('a'), nil)
		b, closeB := w.port(w.net.Host("b", "10.0.0.2"), w.ours, serverID('b'), nil)
		ln := b.Listen(transport.ProtoAPI)
		go func() { _, _ = ln.Accept() }()
		c, err := a.Dial(t.Context(), transport.Target{ID: nodeID('b'), Addr: "10.0.0.2:14747"}, transport.ProtoAPI)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.CloseConns(nodeID('a'))
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Fatal("the connection lives on")
		}
		closeA()
		closeB()
	})
}
