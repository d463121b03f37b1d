package consensus

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Behind an installed snapshot hashicorp/raft 1.7.3 goes astray in three ways.
//
//   - It looks for the last entry of the snapshot in the log alone, where it is not. So
//     entries that follow the snapshot are refused, unless the log ends there: those
//     that are sent again because the answer was lost, and those that should replace
//     entries of a leader that was deposed.
//   - It then is sent the snapshot again, and installing it drops the entries that
//     follow, though they may have been acknowledged.
//   - Installing empties the log, but Raft's memory of the log's end stays. If that was
//     later than the snapshot's, it goes on to believe in it (raft#697), refuses what
//     follows the snapshot, and stands for election with entries that it does not have.
//
// So some requests are looked at before Raft sees them, while it does nothing else
// that came from the network.

// bound keeps a request from committing more than it speaks of (Ongaro's thesis, figure
// 3.1: the index of the last new entry). Raft commits up to its own end, and what is
// there need not be the leader's.
func bound(req *raft.AppendEntriesRequest) {
	last := req.PrevLogEntry
	if n := len(req.Entries); n > 0 {
		last = req.Entries[n-1].Index
	}
	req.LeaderCommitIndex = min(req.LeaderCommitIndex, last)
}

// known moves a request that begins at the end of our snapshot past the entries that
// are in our log. What it then says is as true of the leader's log as before, and Raft
// checks it as any other.
func (s *Store) known(req *raft.AppendEntriesRequest) {
	if len(req.Entries) == 0 || req.PrevLogEntry == 0 {
		return
	}
	before := mark{req.PrevLogEntry, req.PrevLogTerm}
	if end := s.guard.end.Load(); end != nil && *end == before || s.guard.has(before.index, before.term) {
		return // as nearly always
	}
	if first := req.Entries[0]; !s.guard.has(first.Index, first.Term) {
		s.conflicts(req)
		return
	}
	for len(req.Entries) > 0 {
		e := req.Entries[0]
		if !s.guard.has(e.Index, e.Term) {
			return
		}
		req.PrevLogEntry, req.PrevLogTerm, req.Entries = e.Index, e.Term, req.Entries[1:]
	}
}

// conflicts lets a request through that begins at the end of our snapshot, and whose
// first entry is another one than ours. A request that names no entry before its own is
// not refused, and we have found in the snapshot the one that it names. Raft then cuts
// our entries off, as always. What is in a snapshot is committed, so the request stays
// right whatever happens before Raft looks at it.
func (s *Store) conflicts(req *raft.AppendEntriesRequest) {
	if snap, ok := s.lastSnapshot(); ok && snap == (mark{req.PrevLogEntry, req.PrevLogTerm}) {
		req.PrevLogEntry, req.PrevLogTerm = 0, 0
	}
}

// lastSnapshot is where our newest snapshot ends, and false when the log does not go on
// from there: then it is of a leader that was deposed, and was to be dropped when the
// process ended.
func (s *Store) lastSnapshot() (mark, bool) {
	snaps, err := s.cfg.Stores.Snapshots.List()
	if err != nil || len(snaps) == 0 {
		return mark{}, false
	}
	end := mark{snaps[0].Index, snaps[0].Term}
	first, err := s.guard.FirstIndex()
	return end, err == nil && (first == 0 || first == end.index+1 || s.guard.has(end.index, end.term))
}

// superfluous reports whether a snapshot ends at an entry that our log holds or goes on
// from, or before that: Raft keeps what follows then (Ongaro's thesis, figure 5.3, rule
// 6). An older one than ours may come late, on a connection that was given up.
func (s *Store) superfluous(req *raft.InstallSnapshotRequest) (term uint64, yes bool) {
	term = s.raft.CurrentTerm()
	if req.Term != term || s.raft.LastIndex() <= req.LastLogIndex {
		return term, false
	}
	if s.guard.has(req.LastLogIndex, req.LastLogTerm) {
		return term, true
	}
	snap, ok := s.lastSnapshot()
	return term, ok && (snap.index > req.LastLogIndex || snap == mark{req.LastLogIndex, req.LastLogTerm})
}

// reaches reports whether Raft knows of an entry of this index or a later one.
func (s *Store) reaches(index uint64) bool { return s.raft.LastIndex() >= index }

// stuck reports whether this server's disk hangs.
func (s *Store) stuck() bool { return s.guard.stuck() }

// rewind makes Raft take the end of a snapshot that it has installed for the end of its
// log. All that changes this is an entry that is stored, so it is given the snapshot's
// last entry to store, and the store pretends.
func (s *Store) rewind(req *raft.InstallSnapshotRequest, ask func(command any) raft.RPCResponse) {
	s.pretence.at.Store(&mark{req.LastLogIndex, req.LastLogTerm})
	defer s.pretence.at.Store(nil)
	resp := ask(&raft.AppendEntriesRequest{
		RPCHeader: req.RPCHeader, Term: req.Term,
		Entries: []*raft.Log{{Index: req.LastLogIndex, Term: req.LastLogTerm, Type: raft.LogNoop}},
	})
	r, ok := resp.Response.(*raft.AppendEntriesResponse)
	if ok && r.Success || errors.Is(resp.Error, raft.ErrTransportShutdown) || errors.Is(resp.Error, raft.ErrRaftShutdown) {
		return
	}
	// A start reads the true end. Going on would be to lead with a log that has a hole.
	s.cfg.Fatal(fmt.Errorf("install snapshot of entry %d: raft goes on to believe in entry %d, which is gone: %w",
		req.LastLogIndex, s.raft.LastIndex(), errors.Join(resp.Error, errNotRewound)))
}

var errNotRewound = errors.New("the end of its log was not set back")

// pretence stands between Raft and its log. While at is set, that entry seems to be there
// with another term, and storing it and cutting off what follows changes nothing.
type pretence struct {
	raft.LogStore
	at atomic.Pointer[mark]
}

var _ raft.MonotonicLogStore = (*pretence)(nil)

// IsMonotonic implements raft.MonotonicLogStore for the store below.
func (p *pretence) IsMonotonic() bool {
	m, ok := p.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (p *pretence) pretends(index uint64) bool {
	at := p.at.Load()
	return at != nil && at.index == index
}

// GetLog implements raft.LogStore.
func (p *pretence) GetLog(index uint64, l *raft.Log) error {
	if p.pretends(index) {
		*l = raft.Log{Index: index}
		return nil
	}
	return p.LogStore.GetLog(index, l)
}

// StoreLogs implements raft.LogStore.
func (p *pretence) StoreLogs(ls []*raft.Log) error {
	if len(ls) == 1 && p.pretends(ls[0].Index) {
		return nil
	}
	return p.LogStore.StoreLogs(ls)
}

// DeleteRange implements raft.LogStore.
func (p *pretence) DeleteRange(from, to uint64) error {
	if p.pretends(from) {
		return nil
	}
	return p.LogStore.DeleteRange(from, to)
}
