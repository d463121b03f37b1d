package consensus

import (
	"sync"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
)

// A follower learns what has been committed with the next entries, or within 50 to
// 100 ms when there are none. A node that forwarded a write waits for that, to answer
// from its own state. So the leader tells it at once, in a request of Raft's own that
// holds no entry: it is as true as any other that this leader could send, and a
// follower that lacks the entry, or is in a later term, refuses it.

// nudges keeps it to one request under way for each server. Its zero value is ready.
type nudges struct {
	mu   sync.Mutex
	busy map[peer.ID]bool // true: once more after the present one
}

// begin reports whether the caller shall send; otherwise whoever sends does it again.
func (n *nudges) begin(id peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, sending := n.busy[id]; sending {
		n.busy[id] = true
		return false
	}
	if n.busy == nil {
		n.busy = map[peer.ID]bool{}
	}
	n.busy[id] = false
	return true
}

// again reports whether there is more to send, and else ends it.
func (n *nudges) again(id peer.ID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	more := n.busy[id]
	if more {
		n.busy[id] = false
	} else {
		delete(n.busy, id)
	}
	return more
}

// Nudge tells a follower what this leader has committed. It does not wait.
func (s *Store) Nudge(id peer.ID) {
	if id == s.cfg.Self || !s.nudges.begin(id) {
		return
	}
	sent := s.spawn(func() {
		for more := true; more; more = s.nudges.again(id) {
			s.tellCommit(id)
		}
	})
	if !sent {
		s.nudges.again(id)
	}
}

func (s *Store) tellCommit(id peer.ID) {
	end := s.committed.Load()
	if end == nil || s.raft.State() != raft.Leader || s.raft.CurrentTerm() != end.term || !s.pulse.Alive(id) {
		return
	}
	self := []byte(s.cfg.Self)
	var resp raft.AppendEntriesResponse
	err := s.trans.NetworkTransport.AppendEntries(raft.ServerID(id), raft.ServerAddress(id), &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: self, Addr: self},
		Term:      end.term, PrevLogEntry: end.index, PrevLogTerm: end.term, LeaderCommitIndex: end.index,
	}, &resp)
	if err != nil {
		s.log.Debug().Err(err).Msg("a follower was not told what is committed")
	}
}
