package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// Nobody but a server with a certificate by the token's CA ever sees the secret.
func TestSecretStaysHere(t *testing.T) {
	cases := []struct {
		name string
		with func(ours, theirs *cluster) (chain [][]byte, node Node)
	}{
		{"another cluster", func(_, theirs *cluster) ([][]byte, Node) { return theirs.node.Chain, theirs.node }},
		{"same UUID, another CA", func(ours, _ *cluster) ([][]byte, Node) {
			forged := newCluster(ours.t, testCluster, "paris")
			return forged.node.Chain, forged.node
		}},
		{"our CA behind a foreign leaf", func(ours, theirs *cluster) ([][]byte, Node) {
			return [][]byte{theirs.node.Chain[0], ours.ca.CertDER()}, theirs.node
		}},
		{"our CA alone", func(ours, _ *cluster) ([][]byte, Node) {
			return [][]byte{ours.ca.CertDER()}, Node{Key: ours.ca.key}
		}},
		{"no CA", func(ours, _ *cluster) ([][]byte, Node) { return ours.node.Chain[:1], ours.node }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				ours, theirs := newCluster(t, testCluster, "paris"), newCluster(t, otherCluster, "rome")
				chain, node := c.with(ours, theirs)
				got, err := joinAgainst(l, ours, port(chain, node, string(transport.ProtoJoin)))
				if !errors.Is(err, ErrOtherCluster) || errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if got > 0 {
					t.Errorf("%d bytes were sent", got)
				}
			})
		})
	}
}

// joinAgainst joins with our token where cfg answers, once, and counts what the
// joiner sent inside of TLS.
func joinAgainst(l *lab, ours *cluster, cfg *tls.Config) (sent int64, err error) {
	impostor(l, func(conn net.Conn) {
		sent, _ = io.Copy(io.Discard, tls.Server(conn, cfg))
	}, nil)
	ctx, cancel := context.WithTimeout(l.ctx, 500*time.Millisecond)
	defer cancel()
	_, _, err = Join(ctx, l.config(ours.token, "alpha"))
	l.wg.Wait()
	return sent, err
}

// These two are refused too, but may heal.
func TestSecretStaysHereForNow(t *testing.T) {
	t.Run("an edge", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			ours := newCluster(t, testCluster, "paris")
			edge := testNode(t, ours.ca, testPending(t, testID), peer.ClassEdge, time.Now())
			got, err := joinAgainst(l, ours, port(edge.Chain, edge, string(transport.ProtoJoin)))
			if err == nil || !strings.Contains(err.Error(), "only servers") || got > 0 {
				t.Errorf("%d bytes sent, %v", got, err)
			}
		})
	})
	t.Run("no ALPN", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			ours := newCluster(t, testCluster, "paris")
			cfg := port(ours.node.Chain, ours.node, "")
			cfg.NextProtos = nil
			got, err := joinAgainst(l, ours, cfg)
			if !errors.Is(err, ErrNotClusterPort) || got > 0 {
				t.Errorf("%d bytes sent, %v", got, err)
			}
		})
	})
	t.Run("wrong clock", func(t *testing.T) {
		inLab(t, func(t *testing.T, l *lab) {
			c := newCluster(t, testCluster, "paris")
			c.serve(l.ctx, l.server, &l.wg)
			cfg := l.config(c.token, "alpha")
			start := time.Now()
			cfg.Now = func() time.Time { // NTP sets it after a while
				if time.Since(start) < 10*time.Second {
					return time.Unix(0, 0)
				}
				return time.Now()
			}
			if _, _, err := Join(l.ctx, cfg); err != nil {
				t.Fatal(err)
			}
			if len(l.said) == 0 || !strings.Contains(l.said[0], "clock shows 1970-01-01T00:00:00Z") {
				t.Errorf("people were told %q", l.said)
			}
			if n := c.requests(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	})
}

func TestJoinVerifiesTheAnswer(t *testing.T) {
	type distortion func(t *testing.T, c *cluster, a *JoinAnswer)
	leafFor := func(t *testing.T, ca *CA, p Pending, class peer.Class) []byte {
		return testNode(t, ca, p, class, time.Now()).Chain[0]
	}
	var self Pending
	cases := map[string]distortion{
		"another key": func(t *testing.T, c *cluster, a *JoinAnswer) {
			a.Chain[0] = leafFor(t, c.ca, testPending(t, self.ID), peer.ClassServer)
		},
		"another id": func(t *testing.T, c *cluster, a *JoinAnswer) {
			p := self
			p.ID = "zzzzzzzzzzzzzzzz"
			a.Chain[0] = leafFor(t, c.ca, p, peer.ClassServer)
		},
		"another class": func(t *testing.T, c *cluster, a *JoinAnswer) {
			a.Chain[0] = leafFor(t, c.ca, self, peer.ClassEdge)
		},
		"another ca": func(t *testing.T, _ *cluster, a *JoinAnswer) {
			ca := testCA(t, testCluster, "paris", time.Now())
			a.Chain = [][]byte{leafFor(t, ca, self, peer.ClassServer), ca.CertDER()}
			a.Roots = append(a.Roots, ca.CertDER())
		},
		"leaf by another ca": func(t *testing.T, _ *cluster, a *JoinAnswer) {
			a.Chain[0] = leafFor(t, testCA(t, testCluster, "paris", time.Now()), self, peer.ClassServer)
		},
		"a foreign root": func(t *testing.T, _ *cluster, a *JoinAnswer) {
			a.Roots = append(a.Roots, testCA(t, otherCluster, "rome", time.Now()).CertDER())
		},
		"no roots": func(_ *testing.T, _ *cluster, a *JoinAnswer) { a.Roots = nil },
		"too many roots": func(_ *testing.T, _ *cluster, a *JoinAnswer) {
			for range maxRoots {
				a.Roots = append(a.Roots, a.Roots[0])
			}
		},
		"no chain":           func(_ *testing.T, _ *cluster, a *JoinAnswer) { a.Chain = nil },
		"garbage":            func(_ *testing.T, _ *cluster, a *JoinAnswer) { a.Chain[0] = []byte("leaf") },
		"another cluster id": func(_ *testing.T, _ *cluster, a *JoinAnswer) { a.ClusterID = otherCluster },
		"no name":            func(_ *testing.T, _ *cluster, a *JoinAnswer) { a.NodeName = "" },
	}
	for name, distort := range cases {
		t.Run(name, func(t *testing.T) {
			inLab(t, func(t *testing.T, l *lab) {
				c := newCluster(t, testCluster, "paris")
				c.distort = func(a *JoinAnswer) { distort(t, c, a) }
				c.serve(l.ctx, l.server, &l.wg)
				cfg := l.config(c.token, "alpha")
				self = cfg.Pending
				if n, _, err := Join(l.ctx, cfg); !errors.Is(err, ErrBadAnswer) || n.Key != nil {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}
