package fsm

import (
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// joinToken makes a join token.
func (r *replica) joinToken(id string, change ...func(*CreateJoinToken)) {
	r.t.Helper()
	c := &CreateJoinToken{ID: id, Hash: make([]byte, 32), Uses: 1, Expires: StampOf(r.now.Add(time.Hour))}
	for _, f := range change {
		f(c)
	}
	r.must(c)
}

func TestJoinTokenLetsInAsOftenAsItSays(t *testing.T) {
	r := newReplica(t).init()
	r.joinToken("once")
	r.must(&AdmitNode{TokenID: "once", Node: node(2)})
	r.refused(CodeExhausted, &AdmitNode{TokenID: "once", Node: node(3)})
	r.must(&AdmitNode{TokenID: "once", Node: node(2)}) // its answer was lost
	if tok := r.f.View().JoinToken("once"); len(tok.UsedBy) != 1 {
		t.Errorf("%d uses are counted, want 1", len(tok.UsedBy))
	}
	r.joinToken("twice", func(c *CreateJoinToken) { c.Uses = 2 })
	r.must(&AdmitNode{TokenID: "twice", Node: node(3)})
	r.must(&AdmitNode{TokenID: "twice", Node: node(4)})
	r.refused(CodeExhausted, &AdmitNode{TokenID: "twice", Node: node(5)})
	r = &replica{t: t, f: restored(t, r.f), now: r.now, next: r.next} // after a restart
	r.refused(CodeExhausted, &AdmitNode{TokenID: "once", Node: node(5)})
}

func TestJoinTokenThatIsOver(t *testing.T) {
	r := newReplica(t).init()
	r.refused(CodeNotFound, &AdmitNode{TokenID: "unknown", Node: node(2)})
	r.joinToken("revoked", func(c *CreateJoinToken) { c.Uses = 2 })
	r.must(&AdmitNode{TokenID: "revoked", Node: node(2)})
	r.must(&RevokeJoinToken{ID: "revoked"})
	r.refused(CodeRevoked, &AdmitNode{TokenID: "revoked", Node: node(3)})
	r.refused(CodeRevoked, &AdmitNode{TokenID: "revoked", Node: node(2)})
	r.joinToken("expires")
	r.now = r.now.Add(time.Hour)
	r.refused(CodeExpired, &AdmitNode{TokenID: "expires", Node: node(3)})
}

func TestAdmissionRefuses(t *testing.T) {
	r := newReplica(t).init()
	r.joinToken("many", func(c *CreateJoinToken) { c.Uses = 9 })
	as := func(i int, change func(*Node)) *AdmitNode {
		n := node(i)
		change(&n)
		return &AdmitNode{TokenID: "many", Node: n}
	}
	r.refused(CodeExists, as(2, func(n *Node) { n.Name = "n1" }))
	r.refused(CodeExists, as(2, func(n *Node) { n.ID = nodeID(1) }))
	r.refused(CodeInvalid, as(2, func(n *Node) { n.Class = "king" }))
	r.must(as(2, func(*Node) {}))
	r.must(&RemoveNode{ID: nodeID(2)})
	r.refused(CodeRemoved, as(2, func(*Node) {}))
	r.joinToken("replace", func(c *CreateJoinToken) { c.Replace = "n1" })
	r.must(&AdmitNode{TokenID: "many", Node: node(3)})
	heir := as(4, func(n *Node) { n.Name = "n1" })
	heir.TokenID = "replace"
	r.must(heir)
	v := r.f.View()
	if v.Node(nodeID(1)) != nil || !v.Removed(nodeID(1)) || v.Node(nodeID(4)) == nil {
		t.Error("the node was not replaced")
	}
}

func TestFeatureLevelWaitsForTheLastServer(t *testing.T) {
	r := newReplica(t).init()
	r.joinToken("many", func(c *CreateJoinToken) { c.Uses = 9 })
	r.must(&ReportNode{ID: nodeID(1), Addr: "10.0.0.1:1", FeatureLevel: 2, Boot: 1, Nonce: []byte{1}})
	r.must(&AdmitNode{TokenID: "many", Node: node(2)})
	edge := node(3)
	edge.Class = peer.ClassEdge
	r.must(&AdmitNode{TokenID: "many", Node: edge})
	r.refused(CodeFeature, &RaiseFeatureLevel{To: 2})
	r.must(&ReportNode{ID: nodeID(2), Addr: "10.0.0.2:1", FeatureLevel: 2, Boot: 1, Nonce: []byte{1}})
	r.must(&RaiseFeatureLevel{To: 2})
	if got := r.f.View().Cluster().FeatureLevel; got != 2 {
		t.Errorf("feature level %d", got)
	}
}

func TestOlderStartIsRefused(t *testing.T) {
	r := newReplica(t).init()
	report := func(boot uint64, nonce string) *ReportNode {
		return &ReportNode{ID: nodeID(1), Addr: "10.0.0.1:1", FeatureLevel: 1, Boot: boot, Nonce: []byte(nonce)}
	}
	r.must(report(5, "a"))
	r.must(report(5, "a"))
	r.refused(CodeConflict, report(4, "a"))
	r.refused(CodeConflict, report(5, "b"))
	r.must(report(6, "b"))
}

// TestRemovedMachineWithItsOldToken comes back under another ID, with the key that has used
// the token.
func TestRemovedMachineWithItsOldToken(t *testing.T) {
	r := newReplica(t).init()
	r.joinToken("once")
	r.must(&AdmitNode{TokenID: "once", Node: node(2)})
	again := node(3)
	again.KeyHash = node(2).KeyHash
	r.refused(CodeExhausted, &AdmitNode{TokenID: "once", Node: again}) // a second ID for one machine
	r.must(&RemoveNode{ID: nodeID(2)})
	r.refused(CodeExhausted, &AdmitNode{TokenID: "once", Node: again})
	r.now = r.now.Add(24 * time.Hour)
	r.refused(CodeExpired, &AdmitNode{TokenID: "once", Node: again})

	r.joinToken("twice", func(c *CreateJoinToken) { c.Uses = 2 })
	r.must(&AdmitNode{TokenID: "twice", Node: again})
	again.ID, again.Name = nodeID(4), "n4"
	r.must(&AdmitNode{TokenID: "twice", Node: again})
	again.ID, again.Name = nodeID(5), "n5"
	r.refused(CodeExhausted, &AdmitNode{TokenID: "twice", Node: again})
}
