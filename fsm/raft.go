package fsm

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hashicorp/raft"
)

// Raft adapts an FSM to hashicorp/raft. Each log entry answers with []Result, or
// with an error when the FSM has halted.
type Raft struct{ FSM *FSM }

var (
	_ raft.BatchingFSM = Raft{}
	_ raft.FSM         = Raft{}
)

// Apply implements raft.FSM.
func (r Raft) Apply(l *raft.Log) any { return r.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM. It also receives configuration entries,
// which are none of ours.
func (r Raft) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	for i, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		results, err := r.FSM.Apply(l.Data)
		if err != nil {
			out[i] = err
			continue
		}
		out[i] = results
	}
	return out
}

// Snapshot implements raft.FSM.
func (r Raft) Snapshot() (raft.FSMSnapshot, error) {
	s, err := r.FSM.Snapshot()
	if err != nil {
		return nil, err
	}
	return raftSnapshot{s}, nil
}

// Restore implements raft.FSM.
func (r Raft) Restore(rc io.ReadCloser) error {
	defer rc.Close()
	return r.FSM.Restore(rc)
}

type raftSnapshot struct{ s *Snapshot }

// Persist implements raft.FSMSnapshot.
func (s raftSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.s.WriteTo(sink); err != nil {
		_ = sink.Cancel() // the write's error says more
		return err
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot; nothing is held.
func (raftSnapshot) Release() {}

func sortedKeys[V any](m map[uint64]V) []uint64 { return slices.Sorted(maps.Keys(m)) }
