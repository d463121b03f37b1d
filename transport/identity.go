package transport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// Identity is who a node certificate says it is.
//
//	URI SAN  usher://CLUSTER/CLASS/NODE-ID
//	DNS SANs NODE-ID.CLUSTER.usher, CLUSTER.usher
//
// The DNS names exist so that crypto/tls itself verifies whom we dialled.
type Identity struct {
	Cluster string // UUID, lower case
	Class   peer.Class
	ID      peer.ID
}

// URI is the identity as the URI SAN carries it.
func (i Identity) URI() *url.URL {
	return &url.URL{Scheme: "usher", Host: i.Cluster, Path: "/" + string(i.Class) + "/" + string(i.ID)}
}

// NodeName is the server name that a dialler who means this node verifies.
func (i Identity) NodeName() string { return nodeName(i.Cluster, i.ID) }

// DNSNames are the certificate's DNS SANs.
func (i Identity) DNSNames() []string {
	return []string{i.NodeName(), clusterName(i.Cluster)}
}

func nodeName(cluster string, id peer.ID) string { return string(id) + "." + cluster + ".usher" }
func clusterName(cluster string) string          { return cluster + ".usher" }

// ErrNoIdentity means that a certificate carries no well-formed node identity.
var ErrNoIdentity = errors.New("certificate carries no usher identity")

// IdentityOf reads the identity from a certificate. It checks the form only; the
// caller must have verified the chain.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: %d URI names", ErrNoIdentity, len(cert.URIs))
	}
	u := cert.URIs[0]
	class, id, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	i := Identity{Cluster: u.Host, Class: peer.Class(class), ID: peer.ID(id)}
	known := i.Class == peer.ClassServer || i.Class == peer.ClassEdge
	if u.Scheme != "usher" || !ok || u.Host == "" || !known || !i.ID.Valid() {
		return Identity{}, fmt.Errorf("%w: %q", ErrNoIdentity, u)
	}
	return i, nil
}
