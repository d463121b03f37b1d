package fsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ushercluster/usher/agent/peer"
)

// InitCluster is the first command of a cluster: who it is, its first node, the
// first tokens, and the sealed secrets.
type InitCluster struct {
	UUID           string
	Name           string
	Root           []byte // DER of the CA certificate
	RecoveryPublic []byte
	Node           Node
	JoinToken      JoinToken
	Token          Token
	DataKey        DataKey
	Secrets        []Secret
}

func (*InitCluster) kind() Kind                { return KindInitCluster }
func (c *InitCluster) about() (string, string) { return c.Name, "uuid " + c.UUID }

func (c *InitCluster) apply(t *tx) *Error {
	if t.cluster() != nil {
		return refuse(CodeExists, "the cluster exists already")
	}
	if err := checkNode(&c.Node); err != nil {
		return err
	}
	t.put(tableCluster, &Cluster{
		Meta: t.fresh(), UUID: c.UUID, Name: c.Name, Roots: [][]byte{c.Root},
		RecoveryPublic: c.RecoveryPublic, FeatureLevel: FeatureLevel, Born: t.now,
	})
	n := c.Node
	n.Meta, n.State, n.Joined = t.fresh(), peer.StateActive, t.now
	t.put(tableNodes, &n)
	jt := c.JoinToken
	jt.Meta, jt.Born = t.fresh(), t.now
	t.put(tableJoinTokens, &jt)
	tok := c.Token
	tok.Meta, tok.Born = t.fresh(), t.now
	t.put(tableTokens, &tok)
	dk := c.DataKey
	dk.Meta = t.fresh()
	t.put(tableDataKeys, &dk)
	for _, s := range c.Secrets {
		s.Meta, s.At = t.fresh(), t.now
		t.put(tableSecrets, &s)
	}
	return nil
}

// RenameCluster gives the cluster another name. Its UUID stays.
type RenameCluster struct{ Name string }

func (*RenameCluster) kind() Kind                { return KindRenameCluster }
func (c *RenameCluster) about() (string, string) { return "cluster", "name " + c.Name }

func (c *RenameCluster) apply(t *tx) *Error {
	if err := checkName("cluster name", c.Name); err != nil {
		return err
	}
	old := t.cluster()
	if old == nil {
		return refuse(CodeNotFound, "there is no cluster yet")
	}
	row := *old
	row.Name, row.Modified = c.Name, t.rev
	t.put(tableCluster, &row)
	return nil
}

// RaiseFeatureLevel allows newer kinds of commands, once every server knows them.
type RaiseFeatureLevel struct{ To uint32 }

func (*RaiseFeatureLevel) kind() Kind { return KindRaiseFeatureLevel }
func (c *RaiseFeatureLevel) about() (string, string) {
	return "cluster", fmt.Sprintf("to %d", c.To)
}

func (c *RaiseFeatureLevel) apply(t *tx) *Error {
	old := t.cluster()
	if old == nil {
		return refuse(CodeNotFound, "there is no cluster yet")
	}
	if c.To <= old.FeatureLevel {
		return refuse(CodeConflict, "the feature level is %d already", old.FeatureLevel)
	}
	for n := range each[*Node](t.txn, tableNodes) {
		if n.Class == peer.ClassServer && n.FeatureLevel < c.To {
			return refuse(CodeFeature, "node %s knows feature level %d only: upgrade it first", n.Name, n.FeatureLevel)
		}
	}
	row := *old
	row.FeatureLevel, row.Modified = c.To, t.rev
	t.put(tableCluster, &row)
	return nil
}

// checkName accepts the names of clusters, nodes, tasks and tokens: what a DNS
// label sequence may hold, so that a name fits into a URL and a shell as it is.
func checkName(what, s string) *Error {
	if !peer.ValidName(s) {
		return refuse(CodeInvalid, "%s %q: use 1 to 63 characters of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit", what, clip(s, 64))
	}
	return nil
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func sortedUnique(in []string) []string {
	out := slices.Clone(in)
	slices.Sort(out)
	return slices.Compact(out)
}
