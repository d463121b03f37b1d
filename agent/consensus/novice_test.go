package consensus

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
)

func TestNoviceGrows(t *testing.T) {
	request := func(term, prev uint64, entries int, commit uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: term, PrevLogEntry: prev, Entries: make([]*raft.Log, entries), LeaderCommitIndex: commit}
	}
	type step struct {
		req   *raft.AppendEntriesRequest
		fails bool
		still bool // a novice afterwards
	}
	for name, steps := range map[string][]step{
		"heartbeats tell nothing":         {{req: request(3, 0, 0, 0), still: true}},
		"it has everything at once":       {{req: request(3, 7, 0, 7)}},
		"it lacks what was before":        {{req: request(3, 7, 0, 7), fails: true, still: true}, {req: request(3, 0, 5, 5), still: true}, {req: request(3, 5, 2, 7)}},
		"it is there, and not committed":  {{req: request(3, 7, 1, 6), still: true}, {req: request(3, 8, 0, 8)}},
		"an older part is committed":      {{req: request(3, 70, 0, 70), fails: true, still: true}, {req: request(3, 1, 64, 65), still: true}},
		"a new leader, with a longer log": {{req: request(3, 7, 0, 7), fails: true, still: true}, {req: request(4, 9, 0, 7), still: true}, {req: request(4, 9, 0, 9)}},
		"a new leader, with a shorter one": {{req: request(3, 9, 0, 7), fails: true, still: true},
			{req: request(4, 8, 0, 7), fails: true, still: true}, {req: request(4, 5, 3, 8)}},
		"an old leader": {{req: request(3, 9, 0, 7), fails: true, still: true}, {req: request(2, 5, 0, 5), still: true}},
	} {
		t.Run(name, func(t *testing.T) {
			mem := raft.NewInmemStore()
			stores := NewStores(mem, mem, raft.NewInmemSnapshotStore())
			grown := 0
			n, err := openNovice(stores, stores.Stable)
			if err != nil || !n.is.Load() {
				t.Fatalf("empty stores make a novice: %v, %v", n.is.Load(), err)
			}
			n.grown = func() { grown++ }
			for i, s := range steps {
				if err := errors.Join(n.heard(s.req), n.answered(s.req, &raft.AppendEntriesResponse{Success: !s.fails})); err != nil {
					t.Fatal(err)
				}
				if n.is.Load() != s.still {
					t.Errorf("after step %d: a novice %v, want %v", i, n.is.Load(), s.still)
				}
				// It is the same after a start.
				if err := mem.SetUint64(keyTerm, s.req.Term); err != nil {
					t.Fatal(err)
				}
				again, err := openNovice(stores, stores.Stable)
				if err != nil || again.is.Load() != s.still || again.target != n.target && s.still {
					t.Errorf("started again after step %d: a novice %v, waits for %d, not %d, %v", i, again.is.Load(), again.target, n.target, err)
				}
			}
			if want := 0; n.is.Load() != (grown == want) {
				t.Errorf("told %d times", grown)
			}
		})
	}
}

// The server that made the cluster, with an empty disk, gets the first part of the log:
// that says that it is the only voter.
func TestNoviceDoesNotElectItself(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			c := newGroup(t, 1)
			m := c.nodes[id(1)]
			c.stop(m.id)
			if fresh {
				stores, err := OpenStores(filepath.Join(m.dir, "raft"), zerolog.Nop())
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join((&novice{stable: stores.Stable}).note(), stores.Close()); err != nil {
					t.Fatal(err)
				}
			}
			c.start(m.id)
			time.Sleep(time.Minute)
			if leads := m.store.Status().IsLeader; leads == fresh {
				t.Errorf("a novice: %v, it leads: %v", fresh, leads)
			}
			if fresh {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := m.store.trans.stand(ctx, raft.ServerID(m.id)); !errors.Is(err, errNovice) {
					t.Errorf("it stands when it is asked to: %v", err)
				}
			}
			c.stopAll()
		})
	}
}

// One that lost its disk is a full member again when it has caught up.
func TestNoviceBecomesAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		lost := c.nodes[id(1)]
		if l == lost {
			c.stand(c.nodes[id(2)])
			l = c.leader(lost.id)
		}
		if err := l.store.Remove(t.Context(), lost.id); err != nil {
			t.Fatal(err)
		}
		c.stop(lost.id)
		lost.dir = t.TempDir()
		c.start(lost.id)
		if !lost.store.trans.novice.is.Load() {
			t.Fatal("with an empty disk it is no novice")
		}
		if err := l.store.AddVoter(t.Context(), lost.id); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if lost.store.trans.novice.is.Load() {
			t.Fatal("it is a novice still")
		}
		for _, i := range c.ids {
			if i != lost.id && i != l.id {
				c.stop(i)
			}
		}
		c.stand(lost)
		if got := c.leader(l.id); got != lost {
			t.Errorf("%s leads", got.id)
		}
	})
}
