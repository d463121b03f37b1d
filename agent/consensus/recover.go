package consensus

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Survivor is what one server's stores hold of a cluster whose other servers may be lost.
type Survivor struct {
	// State has all entries of the log applied, those too of which the server never
	// learned whether they were committed: what was acknowledged is among them, if it
	// came here at all.
	State     *fsm.FSM
	LastIndex uint64 // of Raft's log
	LastTerm  uint64 // of the entry there
	Term      uint64 // newest that the server has seen
	Voters    []peer.ID
	Boot      Boot
}

// Survivor reads the stores while no agent runs. It changes nothing.
func (s *Stores) Survivor() (Survivor, error) {
	out := Survivor{State: fsm.New(fsm.Options{})}
	fail := func(err error) (Survivor, error) { return Survivor{}, fmt.Errorf("read raft stores: %w", err) }
	has, err := s.HasState()
	if err != nil {
		return fail(err)
	}
	if !has {
		return fail(errors.New("there is no state: this server has never been part of a cluster's log"))
	}
	if err := s.restoreInto(&out); err != nil {
		return fail(err)
	}
	if err := s.replayInto(&out); err != nil {
		return fail(err)
	}
	if out.Term, err = s.Stable.GetUint64(keyTerm); err != nil {
		return fail(err)
	}
	out.Term = max(out.Term, out.LastTerm)
	if out.Boot, err = s.LastBoot(); err != nil {
		return fail(err)
	}
	return out, nil
}

// restoreInto begins with the newest snapshot that can be read.
func (s *Stores) restoreInto(out *Survivor) error {
	list, err := s.Snapshots.List()
	if err != nil {
		return err
	}
	for _, meta := range list {
		var r io.ReadCloser
		if _, r, err = s.Snapshots.Open(meta.ID); err != nil {
			continue
		}
		err = errors.Join(out.State.Restore(r), r.Close())
		if err == nil {
			out.LastIndex, out.LastTerm, out.Voters = meta.Index, meta.Term, votersOf(meta.Configuration)
			return nil
		}
	}
	return err // of the oldest; nil when there is none
}

// replayInto applies the log behind the snapshot.
func (s *Stores) replayInto(out *Survivor) error {
	first, err := s.Logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.Logs.LastIndex()
	if err != nil {
		return err
	}
	if last <= out.LastIndex {
		return nil
	}
	if first > out.LastIndex+1 {
		return fmt.Errorf("the log begins at %d, and the newest snapshot that can be read ends at %d", first, out.LastIndex)
	}
	for i := out.LastIndex + 1; i <= last; i++ {
		var l raft.Log
		if err := s.Logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		switch l.Type {
		case raft.LogCommand:
			if _, err := out.State.Apply(l.Data); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
		case raft.LogConfiguration:
			out.Voters = votersOf(raft.DecodeConfiguration(l.Data))
		}
		out.LastIndex, out.LastTerm = l.Index, l.Term
	}
	return nil
}

func votersOf(c raft.Configuration) []peer.ID {
	var out []peer.ID
	for _, s := range c.Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, peer.ID(s.ID))
		}
	}
	return out
}

// GoOn writes what survived into empty stores, as the state of a cluster of which self is
// the only voter. Indexes and terms go on from where they were.
func (s *Stores) GoOn(self peer.ID, from Survivor) error {
	state, err := from.State.Snapshot()
	if err != nil {
		return err
	}
	if err := s.begin(string(self), state, mark{index: from.LastIndex + 1, term: from.Term + 1}); err != nil {
		return err
	}
	if from.Boot.Number == 0 {
		return nil
	}
	return s.SetBoot(from.Boot)
}
