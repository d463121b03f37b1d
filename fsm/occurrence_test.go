package fsm

import (
	"testing"
	"time"
)

// TestOccurrenceComparesAndSets has two nodes, and a leader that was deposed, say what
// they still believe. What an attempt may do is decided by the claim that holds now.
func TestOccurrenceComparesAndSets(t *testing.T) {
	r := newReplica(t).init()
	r.must(&AdmitNode{TokenID: "join", Node: node(2)})
	r.must(&PutTask{Task: Task{Name: "t", Document: "sales", Every: time.Second, Attempts: 2, Timeout: time.Minute, CatchUp: time.Minute}})
	r.now = r.now.Add(10 * time.Second)
	due := OccurrenceID{Task: "t", Due: StampOf(r.now.Add(-time.Second))}
	claim := func(attempt, i int) *ClaimOccurrence {
		return &ClaimOccurrence{OccurrenceID: due, Attempt: attempt, Node: nodeID(i), Engine: "builtin"}
	}
	start := func(fence uint64, i int) *StartOccurrence {
		return &StartOccurrence{OccurrenceID: due, Fence: fence, Node: nodeID(i)}
	}
	renew := func(fence uint64, i int) *RenewOccurrence {
		return &RenewOccurrence{OccurrenceID: due, Fence: fence, Node: nodeID(i)}
	}
	finish := func(fence uint64, i int) *FinishOccurrence {
		return &FinishOccurrence{OccurrenceID: due, Fence: fence, Node: nodeID(i), Succeeded: true}
	}
	one := r.must(claim(1, 1)).Revision
	r.refused(CodeConflict, claim(1, 2)) // by another leader
	r.refused(CodeConflict, claim(2, 2))
	r.refused(CodeConflict, start(one, 2))
	r.refused(CodeConflict, start(one-1, 1))
	r.refused(CodeConflict, finish(one, 1)) // it has not started
	r.must(start(one, 1))
	r.refused(CodeConflict, start(one, 1)) // by the same node, in another process
	r.refused(CodeConflict, &SkipOccurrence{OccurrenceID: due, State: OccurrenceMissed})
	lose := &LoseOccurrence{OccurrenceID: due, Fence: one, Reason: "silence"}
	r.now = r.now.Add(LeaseLost - time.Second)
	r.refused(CodeState, lose)
	r.must(renew(one, 1))
	r.now = r.now.Add(LeaseLost - time.Second)
	r.refused(CodeState, lose)
	r.now = r.now.Add(time.Second)
	r.must(lose)
	r.refused(CodeConflict, renew(one, 1))
	r.refused(CodeConflict, finish(one, 1))
	r.refused(CodeState, claim(2, 2)) // it waits before the second attempt
	r.now = r.now.Add(time.Minute)
	two := r.must(claim(2, 2)).Revision
	r.refused(CodeConflict, start(one, 1))
	r.must(start(two, 2))
	r.refused(CodeConflict, finish(one, 1))
	r.must(finish(two, 2))
	r.refused(CodeConflict, finish(two, 2))
	r.refused(CodeConflict, claim(1, 1))
	r.refused(CodeConflict, &SkipOccurrence{OccurrenceID: due, State: OccurrenceMissed})
	if o := r.f.View().Occurrence(due); o.State != OccurrenceSucceeded || o.Attempt != 2 || len(o.History) != 1 {
		t.Errorf("%+v: want success at the second attempt", o)
	}
}
