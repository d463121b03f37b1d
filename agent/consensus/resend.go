package consensus

import "github.com/hashicorp/raft"

// When the answer to entries that follow a snapshot is lost, the leader sends them
// again, after the last entry of the snapshot. hashicorp/raft 1.7.3 looks for that
// entry in the log alone, where it is not; it refuses, is sent the snapshot again, and
// installing it drops the entries that follow, though they may have been acknowledged,
// and remembers an end of the log that is gone (raft#697 is of that kind). So two
// requests are looked at before Raft sees them.

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
	for len(req.Entries) > 0 {
		e := req.Entries[0]
		if !s.guard.has(e.Index, e.Term) {
			return
		}
		req.PrevLogEntry, req.PrevLogTerm, req.Entries = e.Index, e.Term, req.Entries[1:]
	}
}

// superfluous reports whether a snapshot ends at an entry that our log holds or goes on
// from: Raft keeps what follows then (Ongaro's thesis, figure 5.3, rule 6).
func (s *Store) superfluous(req *raft.InstallSnapshotRequest) (term uint64, yes bool) {
	term = s.raft.CurrentTerm()
	if req.Term != term || s.raft.LastIndex() <= req.LastLogIndex {
		return term, false
	}
	if s.guard.has(req.LastLogIndex, req.LastLogTerm) {
		return term, true
	}
	snaps, err := s.cfg.Stores.Snapshots.List()
	if err != nil || len(snaps) == 0 {
		return term, false
	}
	first, err := s.guard.FirstIndex()
	same := snaps[0].Index == req.LastLogIndex && snaps[0].Term == req.LastLogTerm
	return term, err == nil && same && first == req.LastLogIndex+1
}
