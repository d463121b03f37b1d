package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A server that begins with nothing learns its cluster's configurations one after the
// other, with the entries. Until it has the one that made it a member, an older one is in
// force with it: for the server that once made the cluster, that is the one in which it
// was the only voter. If it has lost its disk and the leader falls silent in this moment,
// it would elect itself, and acknowledge what no one else ever hears of. Two that lost
// their disks could do the same together.
//
// So such a server, a novice, takes part in no election until it has what its leader had
// when the two first met, and that is committed. The leader met it because it is a member in the
// leader's own configuration. (Ongaro's thesis, 4.2.1, has new servers without a vote in
// the others' configuration; that is not enough when the new server's own is older.)
//
// It is one across restarts: the stable store says so.

// noviceTimeout is how long a novice waits for its leader before it stands: it never passes.
const noviceTimeout = 1000 * time.Hour

var keyNovice = []byte("usher/novice")

// grownUp is the value of keyNovice for a server that is a novice no more; for one that is,
// it is term and target, eight bytes each.
var grownUp = []byte{0}

// errNovice means that a server has not yet learned who the members are.
var errNovice = errors.New("this server is still learning who the members of the cluster are")

// novice is used by the pump alone, but for is.
type novice struct {
	stable raft.StableStore
	grown  func() // called once

	is           atomic.Bool
	term, target uint64 // the leader's term, and the end of its log when it first spoke in it
}

// openNovice finds out whether this server is one.
func openNovice(s *Stores, stable raft.StableStore) (*novice, error) {
	n := &novice{stable: stable}
	has, err := s.HasState()
	if err != nil {
		return nil, fmt.Errorf("look for a state: %w", err)
	}
	if !has {
		n.is.Store(true)
		return n, n.note()
	}
	b, err := s.get(keyNovice)
	if err != nil || len(b) == 0 || bytes.Equal(b, grownUp) {
		return n, err
	}
	if len(b) != 16 {
		return nil, fmt.Errorf("the value of %q has %d bytes", keyNovice, len(b))
	}
	n.is.Store(true)
	n.term, n.target = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return n, nil
}

// note writes down that this is a novice, and what it waits for.
func (n *novice) note() error {
	b := binary.BigEndian.AppendUint64(nil, n.term)
	if err := n.stable.Set(keyNovice, binary.BigEndian.AppendUint64(b, n.target)); err != nil {
		return fmt.Errorf("record that this server has no state: %w", err)
	}
	return nil
}

// heard looks at a request of a leader's before Raft does: the first one in a term tells
// how far the leader is. An error means that Raft must not answer it.
func (n *novice) heard(req *raft.AppendEntriesRequest) error {
	end := req.PrevLogEntry + uint64(len(req.Entries))
	if !n.is.Load() || end == 0 || req.Term <= n.term {
		return nil
	}
	n.term, n.target = req.Term, end
	return n.note()
}

// answered looks at Raft's answer to it.
func (n *novice) answered(req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if !n.is.Load() || !resp.Success || n.target == 0 || req.Term != n.term || req.LeaderCommitIndex < n.target {
		return nil
	}
	if err := n.stable.Set(keyNovice, grownUp); err != nil {
		return fmt.Errorf("record that this server has a state: %w", err)
	}
	n.is.Store(false)
	n.grown()
	return nil
}
