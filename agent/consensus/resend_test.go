package consensus

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// receiver is a follower whose leader is the test.
type receiver struct {
	t    *testing.T
	c    *group
	m    *member
	from peer.ID
	send *raft.NetworkTransport
	snap []byte // the state of a snapshot
	conf raft.Configuration
}

// newReceiver starts a server that has nothing yet. The member whose leader's word the
// test takes does not run. The snapshot has what some commands have made.
func newReceiver(t *testing.T, commands ...fsm.Proposal) *receiver {
	c := newTrio(t)
	l := c.leader("")
	for _, p := range commands {
		if _, err := l.store.Apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	r := &receiver{t: t, c: c, m: c.others(l)[0], from: l.id}
	if err := l.store.Snapshot(); err != nil {
		t.Fatal(err)
	}
	metas, err := l.stores.Snapshots.List()
	if err != nil || len(metas) == 0 {
		t.Fatal(err)
	}
	meta, data, err := l.stores.Snapshots.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if r.snap, err = io.ReadAll(data); err != nil {
		t.Fatal(err)
	}
	r.conf = meta.Configuration
	data.Close()
	c.stopAll()
	r.m.dir = t.TempDir()
	c.start(r.m.id)
	r.m.store.trans.novice.is.Store(false) // it has been a member for long, but for its disk
	host := c.hosts[l.id]
	ln, err := host.Listen(t.Context(), "tcp", ":999")
	if err != nil {
		t.Fatal(err)
	}
	r.send = raft.NewNetworkTransport(&stream{Listener: ln, dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
		return host.DialContext(ctx, "tcp", c.hosts[to].IP()+":14747")
	}}, 1, rpcTimeout, io.Discard)
	return r
}

// newFollower has taken a snapshot and the four entries after it.
func newFollower(t *testing.T) *receiver {
	r := newReceiver(t)
	r.follow(mark{50, 3}, 3)
	return r
}

// follow installs a snapshot, and stores four entries of a term after it.
func (r *receiver) follow(end mark, term uint64) {
	r.t.Helper()
	if !r.install(term, end) || !r.entries(term, end, run(term, end.index+1, 4)...) {
		r.t.Fatal("a snapshot and the entries after it were refused")
	}
}

func (r *receiver) close() {
	r.send.Close()
	r.c.stopAll()
}

func (r *receiver) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(r.from), Addr: []byte(r.from)}
}

// run are entries of one term, from one index on.
func run(term, from uint64, n int) []*raft.Log {
	var out []*raft.Log
	for i := range n {
		out = append(out, &raft.Log{Index: from + uint64(i), Term: term, Type: raft.LogNoop})
	}
	return out
}

// entries sends entries that follow prev, and reports whether they were accepted.
func (r *receiver) entries(term uint64, prev mark, logs ...*raft.Log) bool {
	r.t.Helper()
	return r.commit(term, prev.index, prev, logs...)
}

// commit is entries, of a leader that has committed that far.
func (r *receiver) commit(term, committed uint64, prev mark, logs ...*raft.Log) bool {
	r.t.Helper()
	req := &raft.AppendEntriesRequest{RPCHeader: r.header(), Term: term,
		PrevLogEntry: prev.index, PrevLogTerm: prev.term, Entries: logs, LeaderCommitIndex: committed}
	var resp raft.AppendEntriesResponse
	if err := r.send.AppendEntries(raft.ServerID(r.m.id), raft.ServerAddress(r.m.id), req, &resp); err != nil {
		r.t.Fatal(err)
	}
	return resp.Success
}

// install sends a snapshot that ends at an entry.
func (r *receiver) install(term uint64, last mark) bool {
	r.t.Helper()
	return r.installFrom(term, last, bytes.NewReader(r.snap))
}

func (r *receiver) installFrom(term uint64, last mark, data io.Reader) bool {
	r.t.Helper()
	req := &raft.InstallSnapshotRequest{RPCHeader: r.header(), SnapshotVersion: raft.SnapshotVersionMax, Term: term,
		Leader: []byte(r.from), LastLogIndex: last.index, LastLogTerm: last.term,
		Configuration: raft.EncodeConfiguration(r.conf), ConfigurationIndex: 1, Size: int64(len(r.snap))}
	var resp raft.InstallSnapshotResponse
	err := r.send.InstallSnapshot(raft.ServerID(r.m.id), raft.ServerAddress(r.m.id), req, &resp, data)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.Success
}

// holds looks at the log: where it begins and ends, and the terms of its entries.
func (r *receiver) holds(first, last uint64, terms ...uint64) {
	r.t.Helper()
	f, _ := r.m.store.guard.FirstIndex()
	l, _ := r.m.store.guard.LastIndex()
	if f != first || l != last {
		r.t.Fatalf("the log is %d to %d, want %d to %d", f, l, first, last)
	}
	for i, term := range terms {
		if !r.m.store.guard.has(first+uint64(i), term) {
			r.t.Fatalf("entry %d is not of term %d", first+uint64(i), term)
		}
	}
}

func TestEntriesRepeatedAfterASnapshot(t *testing.T) {
	end := mark{50, 3}
	for _, c := range []struct {
		name  string
		again []*raft.Log
		last  uint64
		terms []uint64
	}{
		{"the same", run(3, 51, 4), 54, []uint64{3, 3, 3, 3}},
		{"fewer", run(3, 51, 2), 54, []uint64{3, 3, 3, 3}},
		{"the same and more", run(3, 51, 7), 57, []uint64{3, 3, 3, 3, 3, 3, 3}},
		{"some conflict", append(run(3, 51, 2), run(4, 53, 3)...), 55, []uint64{3, 3, 4, 4, 4}},
		{"all conflict", run(4, 51, 2), 52, []uint64{4, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFollower(t)
				defer r.close()
				r.holds(51, 54, 3, 3, 3, 3)
				term := c.again[len(c.again)-1].Term
				if !r.entries(term, end, c.again...) {
					t.Fatal("entries that were repeated were refused")
				}
				r.holds(51, c.last, c.terms...)
				last := mark{c.last, c.terms[len(c.terms)-1]}
				if !r.entries(term, last, run(term, c.last+1, 1)...) {
					t.Fatal("what follows was refused")
				}
				r.holds(51, c.last+1)
				if err := r.m.fatal.Load(); err != nil {
					t.Fatal(*err)
				}
			})
		})
	}
}

func TestSnapshotThatHoldsNothingNew(t *testing.T) {
	for _, c := range []struct {
		name        string
		term        uint64
		end         mark // of the second snapshot
		first, last uint64
	}{
		{"the same again", 3, mark{50, 3}, 51, 54},
		{"in the middle of the log", 3, mark{52, 3}, 51, 54},
		{"needed", 3, mark{60, 3}, 0, 0},
		{"that ends where the log does", 3, mark{54, 3}, 0, 0},
		{"by an older leader", 2, mark{50, 3}, 51, 54},
		{"older than ours", 3, mark{40, 3}, 51, 54},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFollower(t)
				defer r.close()
				if got, want := r.install(c.term, c.end), c.term == 3; got != want {
					t.Fatalf("installed: %v, want %v", got, want)
				}
				r.holds(c.first, c.last)
				if n := r.m.store.raft.LastIndex(); n != max(c.end.index, c.last) {
					t.Fatalf("Raft's last index is %d", n)
				}
				next := mark{max(c.end.index, c.last), 3}
				if !r.entries(3, next, run(3, next.index+1, 2)...) {
					t.Fatal("what follows was refused")
				}
			})
		})
	}
}

// TestSenderOfASnapshotThatStalls leaves a snapshot that holds nothing new half sent:
// others are heard all the same.
func TestSenderOfASnapshotThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newFollower(t)
		defer r.close()
		const part = 400 << 10 // more than the sender keeps before it sends
		stall, resume := io.Pipe()
		done := make(chan error, 1)
		go func() {
			req := &raft.InstallSnapshotRequest{RPCHeader: r.header(), SnapshotVersion: raft.SnapshotVersionMax, Term: 3,
				Leader: []byte(r.from), LastLogIndex: 50, LastLogTerm: 3, Size: 2 * part}
			var resp raft.InstallSnapshotResponse
			done <- r.send.InstallSnapshot(raft.ServerID(r.m.id), raft.ServerAddress(r.m.id), req, &resp, stall)
		}()
		if _, err := resume.Write(make([]byte, part)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !r.entries(3, mark{54, 3}, run(3, 55, 1)...) {
			t.Fatal("refused")
		}
		if _, err := resume.Write(make([]byte, part)); err != nil {
			t.Fatal(err)
		}
		resume.Close()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.holds(51, 55)
	})
}

// TestOlderSnapshotComesLate has a snapshot that was overtaken by a newer one, with
// nothing after it yet.
func TestOlderSnapshotComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		defer r.close()
		if !r.install(3, mark{50, 3}) || !r.install(3, mark{40, 3}) {
			t.Fatal("refused")
		}
		if n := r.m.store.raft.AppliedIndex(); n != 50 {
			t.Errorf("the state went back to entry %d", n)
		}
		if !r.entries(3, mark{50, 3}, run(3, 51, 1)...) {
			t.Error("what follows was refused")
		}
	})
}

// TestSnapshotWhileEntriesAreStored sends a snapshot of the middle of what a slow disk is
// about to have stored: it is judged by what the log holds then.
func TestSnapshotWhileEntriesAreStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t)
		defer r.close()
		end := mark{50, 3}
		if !r.install(3, end) {
			t.Fatal("refused")
		}
		r.m.slow.Store(int64(200 * time.Millisecond))
		done := make(chan bool)
		go func() { done <- r.entries(3, end, run(3, 51, 4)...) }()
		time.Sleep(100 * time.Millisecond)
		if !r.install(3, mark{52, 3}) || !<-done {
			t.Fatal("refused")
		}
		r.holds(51, 54, 3, 3, 3, 3)
	})
}

// TestRequestCommitsWhatItSpeaksOf has a leader that has committed more than it sends in
// one request: what else this log holds need not be the leader's.
func TestRequestCommitsWhatItSpeaksOf(t *testing.T) {
	for _, c := range []struct {
		name string
		prev mark
		logs []*raft.Log
		want uint64
	}{
		{"entries", mark{50, 3}, run(3, 51, 2), 52},
		{"none", mark{53, 3}, nil, 53},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newFollower(t)
				defer r.close()
				if !r.commit(4, 54, c.prev, c.logs...) {
					t.Fatal("refused")
				}
				if n := r.m.store.raft.CommitIndex(); n != c.want {
					t.Errorf("committed to entry %d, want %d", n, c.want)
				}
			})
		})
	}
}
