package consensus

import (
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestSnapshotInPlaceOfEntries installs a snapshot over entries of a leader that was
// deposed, which may reach beyond it.
func TestSnapshotInPlaceOfEntries(t *testing.T) {
	for _, c := range []struct {
		name string
		end  mark
	}{
		{"amid the entries", mark{52, 4}},
		{"where they end", mark{54, 4}},
		{"beyond them", mark{60, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReceiver(t)
				defer r.close()
				r.follow(mark{50, 3}, 5)
				r.replaced(6, c.end)
			})
		})
	}
}

// replaced installs a snapshot, and sees that Raft goes on from its end.
func (r *receiver) replaced(term uint64, end mark) {
	r.t.Helper()
	if !r.install(term, end) {
		r.t.Fatal("the snapshot was refused")
	}
	if n := r.m.store.raft.LastIndex(); n != end.index {
		r.t.Errorf("Raft would stand with entry %d; its last is %d", n, end.index)
	}
	next := mark{end.index + 3, term}
	if !r.entries(term, end, run(term, end.index+1, 3)...) || !r.entries(term, next, run(term, next.index+1, 1)...) {
		r.t.Fatal("what follows was refused")
	}
	r.holds(end.index+1, next.index+1, term, term, term, term)
	if n := r.m.store.raft.AppliedIndex(); n != next.index {
		r.t.Errorf("applied to entry %d, want %d", n, next.index)
	}
	if err := r.m.fatal.Load(); err != nil {
		r.t.Fatal(*err)
	}
}

// TestSnapshotOverALogThatWasNotDropped starts as after a crash between keeping a
// snapshot and dropping the entries that it takes the place of.
func TestSnapshotOverALogThatWasNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		defer r.close()
		r.follow(mark{50, 3}, 5)
		sink, err := r.m.stores.Snapshots.Create(1, 52, 4, r.conf, 1, r.send)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sink.Write(r.snap); err != nil {
			t.Fatal(err)
		}
		if err := sink.Close(); err != nil {
			t.Fatal(err)
		}
		r.c.stop(r.m.id)
		r.c.start(r.m.id)
		r.send.CloseStreams()   // to the one that was stopped
		time.Sleep(time.Second) // snapshots are named by the millisecond
		r.holds(51, 54, 5, 5, 5, 5)
		if r.entries(6, mark{52, 4}, run(6, 53, 1)...) {
			t.Fatal("entries were put behind others than the snapshot's")
		}
		r.replaced(6, mark{52, 4})
	})
}

// TestStandingWaitsForTheTrueEnd asks a follower to stand while it installs a snapshot in
// place of entries: it must not stand with those.
func TestStandingWaitsForTheTrueEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		defer r.close()
		r.follow(mark{50, 3}, 5)
		data, more := io.Pipe()
		done := make(chan bool)
		go func() { done <- r.installFrom(6, mark{52, 4}, data) }()
		synctest.Wait()
		stood := make(chan error)
		go func() { stood <- r.m.store.trans.stand(t.Context(), raft.ServerID(r.m.id)) }()
		synctest.Wait()
		if _, err := more.Write(r.snap); err != nil {
			t.Fatal(err)
		}
		more.Close()
		if !<-done {
			t.Error("the snapshot was refused")
		}
		if err := <-stood; err != nil {
			t.Error(err)
		}
		if n := r.m.store.raft.LastIndex(); n != 52 {
			t.Errorf("Raft's last index is %d", n)
		}
		if err := r.m.fatal.Load(); err != nil {
			t.Fatal(*err)
		}
	})
}

// TestRewindThatFailsEndsTheProcess has Raft keep an end of the log that is gone.
func TestRewindThatFailsEndsTheProcess(t *testing.T) {
	for _, c := range []struct {
		name  string
		resp  raft.RPCResponse
		fatal bool
	}{
		{"done", raft.RPCResponse{Response: &raft.AppendEntriesResponse{Success: true}}, false},
		{"refused", raft.RPCResponse{Response: &raft.AppendEntriesResponse{}}, true},
		{"an error", raft.RPCResponse{Error: io.ErrUnexpectedEOF}, true},
		{"Raft ends", raft.RPCResponse{Error: raft.ErrTransportShutdown}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFollower(t)
				defer r.close()
				r.m.store.rewind(&raft.InstallSnapshotRequest{LastLogIndex: 52, LastLogTerm: 4}, func(any) raft.RPCResponse { return c.resp })
				if err := r.m.fatal.Load(); (err != nil) != c.fatal {
					t.Errorf("fatal: %v", err)
				}
			})
		})
	}
}

// TestLeadsAfterASnapshotInPlaceOfEntries elects a node whose log a snapshot has cut
// short: its first entry must follow the snapshot. Behind a hole Raft panics.
func TestLeadsAfterASnapshotInPlaceOfEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		defer r.close()
		r.conf = raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(r.m.id), Address: raft.ServerAddress(r.m.id)}}}
		r.follow(mark{50, 3}, 5)
		if !r.install(6, mark{52, 4}) {
			t.Fatal("refused")
		}
		r.c.stand(r.m)
		r.c.within(time.Second, "it leads", func() bool { return r.m.store.Status().IsLeader })
		if _, err := r.m.store.ReadHere(t.Context()); err != nil { // the barrier of its term is committed
			t.Fatal(err)
		}
		if f, _ := r.m.store.guard.FirstIndex(); f != 53 {
			t.Errorf("its first entry is %d", f)
		}
	})
}
