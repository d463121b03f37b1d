package consensus

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Nothing in a log shows that its end is gone. So stable.db holds a mark: an entry
// that was durably in this node's log (or in its snapshot). It is written beside the
// appends, never in them: soon after the start, then whenever the log has moved for
// markEvery or by markEntries, and at the end of a clean stop. A log that ends before
// its mark has lost entries that this node acknowledged.

const (
	markFirst   = 250 * time.Millisecond
	markEvery   = 5 * time.Second
	markEntries = 1024
)

// mark is one entry of the log; zero: none.
type mark struct{ index, term uint64 }

func (m mark) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, m.index), m.term)
}

func parseMark(b []byte) (mark, error) {
	if len(b) != 16 {
		return mark{}, fmt.Errorf("a mark of %d bytes", len(b))
	}
	return mark{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
}

// marker keeps the mark. Safe for concurrent use.
type marker struct {
	stores *Stores
	wake   chan struct{} // the log grew by markEntries
	next   atomic.Uint64 // index from which on the log wants a new mark

	mu  sync.Mutex // held over a look at the log and the write that follows from it
	now mark
}

func newMarker(s *Stores, now mark) *marker {
	m := &marker{stores: s, wake: make(chan struct{}, 1), now: now}
	m.next.Store(now.index + markEntries)
	return m
}

// grown is told of every append. It does not block.
func (m *marker) grown(last uint64) {
	if last < m.next.Load() {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// note records where the log ends now.
func (m *marker) note() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	end, err := m.stores.end()
	if err != nil {
		return err
	}
	return m.set(end)
}

// deleting runs a truncation of the log. A mark among the entries that go is taken
// back before: otherwise a crash in between would look like damage.
func (m *marker) deleting(from, to uint64, truncate func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from <= m.now.index && m.now.index <= to {
		before := mark{}
		if from > 0 {
			before.index = from - 1 // of an unknown term
		}
		if err := m.set(before); err != nil {
			return err
		}
	}
	return truncate()
}

func (m *marker) set(to mark) error {
	if to == m.now {
		return nil
	}
	if err := m.stores.Stable.Set(keyMark, to.bytes()); err != nil {
		return fmt.Errorf("record the end of the log: %w", err)
	}
	m.now = to
	m.next.Store(to.index + markEntries)
	return nil
}

// end is the last entry of the log, or that of the snapshot when the log is empty.
func (s *Stores) end() (mark, error) {
	last, err := s.Logs.LastIndex()
	if err != nil {
		return mark{}, fmt.Errorf("find the end of the log: %w", err)
	}
	if last == 0 {
		snaps, err := s.Snapshots.List()
		if err != nil || len(snaps) == 0 {
			return mark{}, err
		}
		return mark{snaps[0].Index, snaps[0].Term}, nil
	}
	var l raft.Log
	if err := s.Logs.GetLog(last, &l); err != nil {
		return mark{}, fmt.Errorf("read the end of the log: %w", err)
	}
	return mark{last, l.Term}, nil
}

// keepMark moves the mark along while Raft runs.
func (s *Store) keepMark() {
	t := time.NewTimer(markFirst)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.cfg.Stores.marker.wake:
		case <-s.stop:
			return
		}
		if err := s.cfg.Stores.marker.note(); err != nil {
			s.cfg.Fatal(err)
			return
		}
		t.Reset(markEvery)
	}
}
