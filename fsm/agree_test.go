package fsm

import (
	"testing"
	"time"
)

// TestReplicasAgree applies the same entries to several replicas, one after the other, so
// that their machines' clocks differ, and compares them after each entry. Among the
// commands are some with several faults each: which one is reported is part of the state.
func TestReplicasAgree(t *testing.T) {
	lead := newReplica(t)
	others := make([]*FSM, 16)
	for i := range others {
		others[i] = New(Options{})
	}
	apply := func(items ...Item) {
		t.Helper()
		b, err := EncodeEntry(Entry{Now: StampOf(lead.now), Items: items})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range append([]*FSM{lead.f}, others...) {
			if _, err := f.Apply(b); err != nil {
				t.Fatal(err)
			}
		}
		for i, f := range others {
			if a, b := lead.f.View().Hash(), f.View().Hash(); a != b {
				t.Fatalf("revision %d: replica %d has %.8s, the first %.8s", lead.f.View().Revision(), i, b, a)
			}
		}
	}
	first := newReplica(t).init() // for its command alone
	apply(first.item(&InitCluster{
		UUID: "u", Name: "c", Root: []byte("ca"), Node: node(1),
		JoinToken: JoinToken{ID: "join", Uses: 9, Hash: make([]byte, 32), Expires: StampOf(lead.now.Add(time.Hour))},
		Token:     Token{ID: "admin", Name: "admin", Role: RoleAdmin, Hash: make([]byte, 32)},
		DataKey:   DataKey{ID: 1, Wraps: []Wrap{{Node: nodeID(1), Sealed: []byte("w")}}},
	}))
	for i := range 4 {
		apply(lead.item(&AdmitNode{TokenID: "join", Node: node(i + 2), Wraps: []KeyWrap{{KeyID: 1, Wrap: Wrap{Node: nodeID(i + 2)}}}}))
	}
	wrong := []Pair{{"session.scope", "a"}, {"door.show_node", "b"}, {"log.level", "c"}, {"no.such", "d"}, {"raft.snapshot_rate", "e"}}
	good := []Pair{{"session.scope", "document"}, {"door.show_node", "true"}, {"log.level", "debug"}}
	for range 4 {
		apply(lead.item(&ImportSettings{Pairs: wrong}), lead.item(&ImportSettings{Pairs: good, Reset: true}))
		apply(lead.item(&ImportSettings{Pairs: good[:1], Reset: true}))
	}
	tags := []string{"x", "y", "x", "w"}
	apply(lead.item(&UpdateNode{ID: nodeID(2), Tags: &tags}), lead.item(&RemoveNode{ID: nodeID(3)}), lead.item(&RemoveNode{ID: nodeID(3)}))
	task := Task{Name: "t", Document: "sales", Every: time.Second, Attempts: 2, Timeout: time.Minute, CatchUp: time.Minute}
	apply(lead.item(&PutTask{Task: task}), lead.item(&SetSetting{Key: "scheduler.history", Value: "3"}))
	for range 6 {
		lead.now = lead.now.Add(10 * time.Second)
		due := OccurrenceID{Task: "t", Due: StampOf(lead.now.Add(-time.Second))}
		claim := lead.item(&ClaimOccurrence{OccurrenceID: due, Attempt: 1, Node: nodeID(1), Engine: "builtin"})
		apply(claim, lead.item(&SkipOccurrence{OccurrenceID: due, State: OccurrenceMissed}))
		fence := lead.f.View().Occurrence(due).Fence
		apply(claim, lead.item(&StartOccurrence{OccurrenceID: due, Fence: fence, Node: nodeID(1)}))
		apply(lead.item(&FinishOccurrence{OccurrenceID: due, Fence: fence, Node: nodeID(1), Succeeded: true}))
	}
	if n := len(lead.f.View().Occurrences("t")); n != 3 {
		t.Errorf("%d occurrences are kept: this test sees less than it should", n)
	}
}
