package fsm

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
)

// memory remembers the IDs and results of the last MemorySize commands. Because
// every command takes exactly one revision, the slot of a revision needs no key of
// its own: 16 bytes a command and an index, and nothing more for a command that
// was carried out.
//
// chain is a hash over all commands ever applied and their results. It stands for
// the memory in the hash of the state, and tells replicas apart for ever once they
// differed in one command.
type memory struct {
	ids     []CommandID          // a ring: revision r is at (r-1) % MemorySize
	index   map[CommandID]uint64 // revision
	refused map[uint64]outcome   // by revision; absent means carried out
	chain   [32]byte
}

type outcome struct {
	Code    Code
	Message string
}

func newMemory() *memory {
	return &memory{index: map[CommandID]uint64{}, refused: map[uint64]outcome{}}
}

// recall returns the result of a command that was applied before.
func (m *memory) recall(id CommandID) (Result, bool) {
	rev, ok := m.index[id]
	if !ok {
		return Result{}, false
	}
	o := m.refused[rev]
	return Result{Revision: rev, Code: o.Code, Message: o.Message, Repeated: true}, true
}

// forgotten reports whether a command first tried at revision known could have
// been applied and forgotten since.
func (m *memory) forgotten(known, current uint64) bool {
	return current > MemorySize && known < current-MemorySize
}

// remember stores the result of the command that took revision rev, and forgets
// the one whose slot it takes.
func (m *memory) remember(id CommandID, rev uint64, err *Error) {
	slot := (rev - 1) % MemorySize
	if uint64(len(m.ids)) == slot && len(m.ids) < MemorySize {
		m.ids = append(m.ids, id)
	} else {
		if m.index[m.ids[slot]] == rev-MemorySize {
			delete(m.index, m.ids[slot])
		}
		delete(m.refused, rev-MemorySize)
		m.ids[slot] = id
	}
	m.index[id] = rev
	var o outcome
	if err != nil {
		o = outcome{err.Code, err.Message}
		m.refused[rev] = o
	}
	m.chain = link(m.chain, id, rev, o)
}

func link(prev [32]byte, id CommandID, rev uint64, o outcome) [32]byte {
	b := make([]byte, 0, 32+16+8+len(o.Code)+1+len(o.Message))
	b = append(b, prev[:]...)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, rev)
	b = append(b, o.Code...)
	b = append(b, 0)
	b = append(b, o.Message...)
	return sha256.Sum256(b)
}

// clone copies the memory for a snapshot: about 2 MB when it is full, without the
// index, which a restore makes anew.
func (m *memory) clone() *memory {
	return &memory{
		ids:     append([]CommandID(nil), m.ids...),
		refused: maps.Clone(m.refused),
		chain:   m.chain,
	}
}

// reindex makes the index of a restored memory; current is the state's revision.
func (m *memory) reindex(current uint64) {
	m.index = make(map[CommandID]uint64, len(m.ids))
	oldest := uint64(1)
	if current > MemorySize {
		oldest = current - MemorySize + 1
	}
	for rev := oldest; rev <= current && len(m.ids) > 0; rev++ {
		if id := m.ids[(rev-1)%MemorySize]; id != (CommandID{}) { // no command: see skip
			m.index[id] = rev
		}
	}
}
