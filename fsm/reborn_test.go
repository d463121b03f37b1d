package fsm

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
)

func (r *replica) joined(i int) {
	r.t.Helper()
	n := node(i)
	r.must(&AdmitNode{TokenID: "join", Node: n, Wraps: []KeyWrap{{1, Wrap{Node: n.ID, Sealed: []byte("w")}}}})
}

func TestSurvive(t *testing.T) {
	r := newReplica(t).init()
	r.joined(2)
	r.joined(3)
	old := r.item(&SetSetting{Key: "session.scope", Value: "document"})
	before := r.must(&SetSetting{Key: "door.show_node", Value: "true"}).Revision
	hash := r.f.View().Hash()

	gone, err := r.f.Survive(nodeID(2), StampOf(r.now), Actor{Kind: ActorLocal, ID: "root"})
	if err != nil || len(gone) != 2 {
		t.Fatal(gone, err)
	}
	v := r.f.View()
	if v.Revision() != before+SkippedRevisions || v.Hash() == hash {
		t.Errorf("revision %d after %d", v.Revision(), before)
	}
	if len(v.Nodes()) != 1 || v.Node(nodeID(2)) == nil || !v.Removed(nodeID(1)) || !v.Removed(nodeID(3)) {
		t.Errorf("members: %v", v.Nodes())
	}
	if d := cmp.Diff([]Wrap{{Node: nodeID(2), Sealed: []byte("w")}}, v.DataKeys()[0].Wraps); d != "" {
		t.Error(d)
	}
	if v.Text("door.show_node") != "true" {
		t.Error("a setting is lost")
	}
	var last *Audit
	for row := range v.Audit(0) {
		last = row
	}
	if last == nil || last.Action != "cluster.recover" || last.Actor != "local:root" {
		t.Errorf("audit: %+v", last)
	}
	// What was on its way to the cluster that was must not be carried out now.
	if res := r.apply(old)[0]; res.Code != CodeExpired {
		t.Errorf("a command from before: %+v", res)
	}
	r.must(&SetSetting{Key: "session.scope", Value: "document"})
	same(t, r.f, restored(t, r.f))
	if _, err := r.f.Survive(nodeID(7), 0, Actor{}); err == nil {
		t.Error("a stranger survived")
	}
	same(t, r.f, restored(t, r.f))
}

func TestRefound(t *testing.T) {
	r := newReplica(t).init()
	r.joined(2)
	r.must(&RemoveNode{ID: nodeID(2)})
	r.must(&SetSetting{Key: "door.show_node", Value: "true"})
	r.must(&PutTask{Task: Task{Name: "nightly", Document: "sales", Cron: "0 3 * * *", Attempts: 1, Timeout: 1e9, CatchUp: 1e9}})
	before := r.f.View().Revision()
	first := &InitCluster{
		UUID: "other", Name: "again", Root: []byte("ca2"), RecoveryPublic: []byte("pub"), Node: node(5),
		JoinToken: JoinToken{ID: "join2", Uses: 1, Hash: make([]byte, 32)},
		Token:     Token{ID: "restored", Name: "restored", Role: RoleAdmin, Hash: make([]byte, 32)},
		DataKey:   DataKey{ID: 1, Wraps: []Wrap{{Node: nodeID(5), Sealed: []byte("w5")}}},
		Secrets:   []Secret{{Name: "ca-key", KeyID: 1, Sealed: []byte("s2")}},
	}
	if err := r.f.Refound(first, StampOf(r.now), Actor{Kind: ActorLocal, ID: "root"}); err != nil {
		t.Fatal(err)
	}
	v := r.f.View()
	if c := v.Cluster(); c.UUID != "other" || c.Name != "again" || string(c.Roots[0]) != "ca2" || len(c.Roots) != 1 {
		t.Errorf("cluster: %+v", c)
	}
	got := map[string]int{}
	for name, n := range v.Rows() {
		if name != tableAudit {
			got[name] = n
		}
	}
	want := map[string]int{
		tableCluster: 1, tableSettings: 1, tableNodes: 1, tableRemoved: 0, tableJoinTokens: 1, tableTokens: 2,
		tableDataKeys: 1, tableSecrets: 1, tableTasks: 1, tableOccurrences: 0,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if v.Revision() != before+SkippedRevisions || v.Node(nodeID(5)).State != peer.StateActive {
		t.Errorf("revision %d, node %+v", v.Revision(), v.Node(nodeID(5)))
	}
	same(t, r.f, restored(t, r.f))

	hash := r.f.View().Hash()
	first.Node.Name = "not a name"
	if err := r.f.Refound(first, StampOf(r.now), Actor{}); err == nil || r.f.View().Hash() != hash {
		t.Errorf("a founding that fails: %v, and the state is another: %v", err, r.f.View().Hash() != hash)
	}
}
