package fsm

import (
	"crypto/sha256"
	"fmt"

	"github.com/ushercluster/usher/agent/peer"
)

// SkippedRevisions are left out where a state goes on that may have lost its end. What the
// lost commands were told as their revision does not come again for other commands: an
// ETag, a fencing token or an index that somebody kept fits nothing that is new. There are
// more of them than commands are remembered, so that a command from before is refused as
// expired, and not carried out a second time.
const SkippedRevisions = 1 << 20

// Survive makes the state that of a cluster of one: every other server, and every edge, is
// removed for good, and SkippedRevisions are left out. It is for a node whose cluster lost
// its majority for ever, while no agent runs. It returns whom it removed.
func (f *FSM) Survive(self peer.ID, now Stamp, by Actor) ([]Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var gone []Node
	err := f.reborn(now, by, func(t *tx) error {
		if get[*Node](t.txn, tableNodes, string(self)) == nil {
			return fmt.Errorf("this node, %s, is not in the state", self)
		}
		for _, n := range all[*Node](t.txn, tableNodes) {
			if n.ID != self {
				gone = append(gone, *n)
				t.removeNode(n)
			}
		}
		return nil
	}, "cluster.recover", string(self))
	return gone, err
}

// Refound gives the state to a new cluster: first says who that is and which secrets it
// has, all of them. Settings, tasks with their history, API tokens and the audit stay.
// Nodes, join tokens, keys and secrets go. It is for a state that was read from a snapshot.
func (f *FSM) Refound(first *InitCluster, now Stamp, by Actor) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reborn(now, by, func(t *tx) error {
		for _, name := range []string{tableCluster, tableNodes, tableRemoved, tableJoinTokens, tableDataKeys, tableSecrets} {
			for _, row := range all[any](t.txn, name) {
				t.del(name, row)
			}
		}
		if err := first.apply(t); err != nil {
			return err
		}
		return nil
	}, "cluster.restore", first.Name)
}

// reborn leaves revisions out and makes a change outside of Raft. A change that fails
// changes nothing.
func (f *FSM) reborn(now Stamp, by Actor, change func(*tx) error, action, target string) error {
	if f.halt != nil {
		return f.halt
	}
	rev, last := f.rev+SkippedRevisions, f.last
	stamp := max(f.now, now)
	txn := f.db.Txn(true)
	t := &tx{txn: txn, rev: rev, now: stamp, actor: by, last: &last}
	if err := change(t); err != nil {
		txn.Abort()
		return err
	}
	txn.Commit()
	f.mem = f.mem.skip(rev, action)
	f.rev, f.now, f.last = rev, stamp, last
	f.log = f.log.add(&Audit{Revision: rev, At: stamp, Actor: by.String(), Via: by.Via, Action: action, Target: clip(target, MaxNameBytes)})
	if f.log.size() > MaxAudit {
		f.log, _ = f.log.drop()
	}
	f.last.touch(tableAudit, rev)
	f.publish()
	return nil
}

// skip is the memory of a state that goes on at a revision so much later that nothing of
// what is remembered counts. The slots of commands that never were are zero.
func (m *memory) skip(rev uint64, action string) *memory {
	next := newMemory()
	next.ids = make([]CommandID, MemorySize)
	sum := sha256.Sum256(append(m.chain[:], action...))
	next.chain = link(sum, CommandID{}, rev, outcome{})
	return next
}
