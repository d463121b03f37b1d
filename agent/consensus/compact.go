package consensus

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Raft takes a snapshot, and drops the log before it, when some thousands of entries have
// come since the last one; it looks every few minutes. But an entry may hold 256 KiB, and
// a busy leader writes many of them. So bytes are counted as well: after logBudget of
// them, or as many as the last snapshot has if that is more, there is a snapshot at once.
// Of what is before it, as many entries stay for followers that are behind as a quarter
// of that holds.
const (
	logBudget     = 64 << 20
	trailingMost  = 10_240 // entries
	trailingLeast = 64
	// After a snapshot that failed the next one is tried with an entry that comes this much
	// later; each time twice as much, up to the second.
	snapshotAgain, snapshotAgainMost = 100 * time.Millisecond, 30 * time.Second
)

// appetite counts what is added to the log between two snapshots.
type appetite struct {
	bytes, entries atomic.Int64
	budget         atomic.Int64
	full           chan struct{} // has room for the one signal
}

func newAppetite(budget int64) *appetite {
	a := &appetite{full: make(chan struct{}, 1)}
	a.budget.Store(budget)
	return a
}

// ate counts entries that were written.
func (a *appetite) ate(ls []*raft.Log) {
	n := 0
	for _, l := range ls {
		n += len(l.Data)
	}
	a.entries.Add(int64(len(ls)))
	if a.bytes.Add(int64(n)) >= a.budget.Load() {
		select {
		case a.full <- struct{}{}:
		default: // it is said already
		}
	}
}

// leave counts again what was taken for a snapshot that failed.
func (a *appetite) leave(bytes, entries int64) {
	a.bytes.Add(bytes)
	a.entries.Add(entries)
}

// trailing is how many entries stay before a snapshot: room bytes of them, as entries
// were lately.
func trailing(room, bytes, entries int64) uint64 {
	return uint64(min(max(room*entries/max(bytes, 1), trailingLeast), trailingMost))
}

// compact takes snapshots until the store closes.
func (s *Store) compact() {
	again := snapshotAgain
	for {
		select {
		case <-s.appetite.full:
		case <-s.stop:
			return
		}
		bytes, entries := s.appetite.bytes.Swap(0), s.appetite.entries.Swap(0)
		s.keepTrailing(trailing(s.appetite.budget.Load()/4, bytes, entries))
		err := s.raft.Snapshot().Error()
		s.keepTrailing(trailingMost)
		switch {
		case err == nil:
			again = snapshotAgain
			s.log.Debug().Int64("bytes", bytes).Int64("entries", entries).Msg("log compacted")
		case errors.Is(err, raft.ErrRaftShutdown), errors.Is(err, raft.ErrNothingNewToSnapshot):
		default:
			s.log.Warn().Err(err).Dur("again_in", again).Msg("snapshot failed; the log grows until the next one")
			pause(s.life, again)
			again = min(2*again, snapshotAgainMost)
			s.appetite.leave(bytes, entries)
		}
		s.appetite.budget.Store(max(s.cfg.LogBudget, s.newestSnapshot().Size))
	}
}

// keepTrailing says how many entries before a snapshot stay.
func (s *Store) keepTrailing(entries uint64) {
	s.reload(func(rc *raft.ReloadableConfig) { rc.TrailingLogs = entries })
}

// reload changes what Raft lets change while it runs.
func (s *Store) reload(change func(*raft.ReloadableConfig)) {
	s.config.Lock()
	defer s.config.Unlock()
	rc := s.raft.ReloadableConfig()
	change(&rc)
	if err := s.raft.ReloadConfig(rc); err != nil {
		s.log.Error().Err(err).Msg("raft takes no new settings") // a defect: ours are in bounds
	}
}

// newestSnapshot is what is said of the newest one; zero when there is none.
func (s *Store) newestSnapshot() raft.SnapshotMeta {
	list, err := s.cfg.Stores.Snapshots.List()
	if err != nil || len(list) == 0 {
		return raft.SnapshotMeta{}
	}
	return *list[0]
}
