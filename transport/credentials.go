package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Credentials are a node's certificate and what it trusts. They may be replaced
// while connections are made; safe for concurrent use.
type Credentials struct {
	now     func() time.Time
	removed func(peer.ID) bool
	state   atomic.Pointer[credentialState]
}

type credentialState struct {
	self    Identity
	cert    tls.Certificate
	roots   *x509.CertPool
	servers map[Proto]*tls.Config
}

// NewCredentials returns empty credentials; Set must be called before they are
// used. removed tells which nodes may never come in, now gives the wall clock; nil
// means nobody and time.Now.
func NewCredentials(removed func(peer.ID) bool, now func() time.Time) *Credentials {
	if removed == nil {
		removed = func(peer.ID) bool { return false }
	}
	if now == nil {
		now = time.Now
	}
	return &Credentials{now: now, removed: removed}
}

// Set installs a certificate (leaf first, then its CA) and the trusted roots. The
// leaf must carry an identity and chain to one of the roots.
func (c *Credentials) Set(cert tls.Certificate, roots []*x509.Certificate) error {
	if len(cert.Certificate) == 0 || len(roots) == 0 {
		return errors.New("set credentials: no certificate or no roots")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	self, err := IdentityOf(leaf)
	if err != nil {
		return fmt.Errorf("set credentials: %w", err)
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	s := &credentialState{self: self, cert: cert, roots: pool, servers: map[Proto]*tls.Config{}}
	for _, proto := range Protos() {
		s.servers[proto] = c.serverConfig(s, proto)
	}
	c.state.Store(s)
	return nil
}

// Self is who the certificate says we are.
func (c *Credentials) Self() Identity {
	if s := c.state.Load(); s != nil {
		return s.self
	}
	return Identity{}
}

// RefusedError says why a verified certificate was not let in all the same.
type RefusedError struct {
	Peer   Identity
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("node %s refused: %s", e.Peer.ID, e.Reason)
}

// serverConfig answers a client that offers exactly one protocol. Verification
// lives in VerifyConnection, which is not skipped on resumption; there are no
// session tickets either.
func (c *Credentials) serverConfig(s *credentialState, proto Proto) *tls.Config {
	cfg := &tls.Config{
		Certificates:           []tls.Certificate{s.cert},
		NextProtos:             []string{string(proto)},
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              s.roots,
		SessionTicketsDisabled: true,
		Time:                   c.now,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := c.verify(s, cs, proto)
			return err
		},
	}
	if proto == ProtoJoin {
		cfg.ClientAuth, cfg.ClientCAs, cfg.VerifyConnection = tls.NoClientCert, nil, nil
	}
	return cfg
}

// server picks the configuration for a hello, and refuses every hello that does not
// offer exactly one protocol that somebody listens for.
func (c *Credentials) server(hello *tls.ClientHelloInfo, listened func(Proto) bool) (*tls.Config, error) {
	s := c.state.Load()
	if s == nil {
		return nil, errors.New("no certificate yet")
	}
	if len(hello.SupportedProtos) != 1 {
		return nil, fmt.Errorf("client offers %d protocols", len(hello.SupportedProtos))
	}
	proto := Proto(hello.SupportedProtos[0])
	cfg, ok := s.servers[proto]
	if !ok || !listened(proto) {
		return nil, fmt.Errorf("nobody listens for protocol %q", clip(string(proto)))
	}
	return cfg, nil
}

// client is the configuration to reach a target.
func (c *Credentials) client(to Target, proto Proto) (*tls.Config, error) {
	s := c.state.Load()
	if s == nil {
		return nil, errors.New("no certificate yet")
	}
	name := clusterName(s.self.Cluster)
	if to.ID != "" {
		name = nodeName(s.self.Cluster, to.ID)
	}
	return &tls.Config{
		Certificates:           []tls.Certificate{s.cert},
		RootCAs:                s.roots,
		ServerName:             name,
		NextProtos:             []string{string(proto)},
		MinVersion:             tls.VersionTLS13,
		SessionTicketsDisabled: true,
		Time:                   c.now,
		VerifyConnection: func(cs tls.ConnectionState) error {
			got, err := c.verify(s, cs, proto)
			if err == nil && to.ID != "" && got.ID != to.ID {
				return &RefusedError{got, "not the node that was meant"}
			}
			return err
		},
	}, nil
}

// verify checks what crypto/tls does not: cluster, class, removed list, protocol.
func (c *Credentials) verify(s *credentialState, cs tls.ConnectionState, proto Proto) (Identity, error) {
	if len(cs.VerifiedChains) == 0 || len(cs.PeerCertificates) == 0 {
		return Identity{}, errors.New("no verified certificate")
	}
	id, err := IdentityOf(cs.PeerCertificates[0])
	switch {
	case err != nil:
		return Identity{}, err
	case cs.NegotiatedProtocol != string(proto):
		return Identity{}, &RefusedError{id, "protocol not agreed"}
	case id.Cluster != s.self.Cluster:
		return Identity{}, &RefusedError{id, "certificate of another cluster"}
	case !slices.Contains(classes(proto), id.Class):
		return Identity{}, &RefusedError{id, "class " + string(id.Class) + " may not speak " + string(proto)}
	case c.removed(id.ID):
		return Identity{}, &RefusedError{id, "removed from the cluster"}
	}
	return id, nil
}

// classes are the node classes that may speak a protocol, on either side.
func classes(p Proto) []peer.Class {
	switch p {
	case ProtoRaft, ProtoPulse, ProtoJoin:
		return []peer.Class{peer.ClassServer}
	}
	return []peer.Class{peer.ClassServer, peer.ClassEdge}
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
