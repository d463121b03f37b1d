package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// Why a join does not go on.
var (
	// ErrOtherCluster: the CA that an address presents is not the token's.
	ErrOtherCluster = errors.New("this address belongs to another cluster")
	// ErrNotClusterPort: what answers there is no cluster port.
	ErrNotClusterPort = errors.New("no usher cluster port answers there")
	// ErrBadAnswer: a server of the right cluster sent something that does not hold.
	ErrBadAnswer = errors.New("the cluster's answer is not valid")
)

const (
	joinDialTimeout = 5 * time.Second // with the TLS handshake
	// joinReplyTimeout outlasts the server's own deadlines.
	joinReplyTimeout = joinReadTimeout + joinAnswerTimeout + joinWriteTimeout
	maxChain         = 4
	maxRoots         = 8
)

// try asks one server once.
func (j *joiner) try(ctx context.Context, addr string) (Node, JoinAnswer, error) {
	conn, ca, err := j.dial(ctx, addr)
	if err != nil {
		return Node{}, JoinAnswer{}, err
	}
	defer conn.Close()
	defer closeWith(ctx, conn)()

	r := j.request
	r.Time = j.cfg.Now().UTC()
	_ = conn.SetDeadline(time.Now().Add(joinReplyTimeout))
	if err := writeFrame(conn, r); err != nil {
		return Node{}, JoinAnswer{}, err
	}
	var reply joinReply
	if err := readFrame(conn, &reply); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the server closed the connection without an answer")
		}
		return Node{}, JoinAnswer{}, err
	}
	if reply.Error != nil {
		return Node{}, JoinAnswer{}, reply.Error
	}
	if reply.Answer == nil {
		return Node{}, JoinAnswer{}, fmt.Errorf("%w: it is empty", ErrBadAnswer)
	}
	node, err := verifyAnswer(j.cfg.Pending, r, ca, *reply.Answer)
	if err != nil {
		return Node{}, JoinAnswer{}, fmt.Errorf("%w: %w", ErrBadAnswer, err)
	}
	return node, *reply.Answer, nil
}

// dial returns a connection to a server that has proved to be of the token's
// cluster, and that cluster's CA.
func (j *joiner) dial(ctx context.Context, addr string) (net.Conn, *x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, joinDialTimeout)
	defer cancel()
	raw, err := j.cfg.Dial(ctx, addr)
	if err != nil {
		return nil, nil, err
	}
	var ca *x509.Certificate
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{string(transport.ProtoJoin)},
		// The names in the certificate cannot be known before joining, and no
		// root is trusted yet but the one that the token names: the standard
		// check is replaced by a stricter one.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) (err error) {
			ca, err = verifyServer(cs, j.cfg.Token.ca, j.cfg.Now())
			return err
		},
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, nil, explainHandshake(err)
	}
	return conn, ca, nil
}

// explainHandshake tells a port of something else from a network that fails.
func explainHandshake(err error) error {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	op, ok := errors.AsType[*net.OpError](err)
	alert := ok && op.Op == "remote error" // how crypto/tls marks an alert from the other side
	if notTLS || alert {
		return fmt.Errorf("%w: %w", ErrNotClusterPort, err)
	}
	return fmt.Errorf("TLS handshake: %w", err)
}

// verifyServer holds the server's chain against the token: one certificate of it is
// the CA whose SHA-256 the token carries, and the leaf is a server's that exactly
// this CA signed. It returns the CA.
func verifyServer(cs tls.ConnectionState, fingerprint [32]byte, now time.Time) (*x509.Certificate, error) {
	if cs.NegotiatedProtocol != string(transport.ProtoJoin) || len(cs.PeerCertificates) == 0 {
		return nil, ErrNotClusterPort
	}
	chain := cs.PeerCertificates[:min(len(cs.PeerCertificates), maxChain)]
	i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return sha256.Sum256(c.Raw) == fingerprint })
	if i < 0 {
		last := sha256.Sum256(chain[len(chain)-1].Raw)
		return nil, fmt.Errorf("%w: its CA is %x..., the token's is %x...: check the address, or use a token of that cluster", ErrOtherCluster, last[:6], fingerprint[:6])
	}
	if err := verifyLeaf(chain[0], chain[i], now); err != nil {
		return nil, explainVerify(err, chain[0], now)
	}
	id, err := transport.IdentityOf(chain[0])
	if err != nil {
		return nil, err
	}
	if id.Class != peer.ClassServer {
		return nil, fmt.Errorf("node %s is of class %s, and only servers answer joins", id.ID.Short(), id.Class)
	}
	return chain[i], nil
}

// explainVerify tells a wrong clock, which may yet be set, from an impostor that
// shows the right CA but has no certificate by it.
func explainVerify(err error, leaf *x509.Certificate, now time.Time) error {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fmt.Errorf("the server's certificate is valid from %s to %s and this machine's clock shows %s: set the clock, or renew that certificate: %w",
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339), err)
	}
	return fmt.Errorf("%w: it shows the token's CA, but has no certificate by it: %w", ErrOtherCluster, err)
}

// verifyAnswer puts the node together if the answer is for what was asked, and by
// the CA that the token names.
func verifyAnswer(p Pending, r JoinRequest, ca *x509.Certificate, a JoinAnswer) (Node, error) {
	if len(a.Chain) > maxChain || len(a.Roots) > maxRoots {
		return Node{}, fmt.Errorf("%d certificates and %d CAs", len(a.Chain), len(a.Roots))
	}
	if !peer.ValidName(a.NodeName) {
		return Node{}, fmt.Errorf("node name %.80q", a.NodeName)
	}
	n, err := p.Node(a.Chain, a.Roots)
	if err != nil {
		return Node{}, err
	}
	switch last := a.Chain[len(a.Chain)-1]; {
	case !bytes.Equal(last, ca.Raw):
		return Node{}, fmt.Errorf("the certificate is by a CA that is not the token's (SHA-256 %x)", sha256.Sum256(last))
	case n.Identity.Class != r.Class:
		return Node{}, fmt.Errorf("the certificate is for class %s, and %s was asked for", n.Identity.Class, r.Class)
	case n.Identity.Cluster != a.ClusterID:
		return Node{}, fmt.Errorf("the certificate is of cluster %s, the answer of %.80q", n.Identity.Cluster, a.ClusterID)
	}
	return n, nil
}
