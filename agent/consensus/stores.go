package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/fsm"
)

// Stores are where Raft keeps its things. Close closes what OpenStores opened.
type Stores struct {
	Logs      raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
	Close     func() error

	marker *marker
}

const (
	walSegment    = 16 << 20 // raft-wal preallocates its segments; 64 MiB is its default
	keepSnapshots = 2
)

// OpenStores opens or makes the stores below dir: stable.db (term, vote, and this
// node's own facts), wal (the log), snapshots. Before that it looks through all of
// them: a *DamageError when something that this node had promised is not there.
func OpenStores(dir string, log zerolog.Logger) (*Stores, error) {
	return openStores(dir, log, walSegment)
}

func openStores(dir string, log zerolog.Logger, segment int) (*Stores, error) {
	walDir, hl := filepath.Join(dir, walDirName), logs.HCLog(log)
	if err := os.MkdirAll(walDir, 0o700); err != nil {
		return nil, fmt.Errorf("open raft stores: %w", err)
	}
	l, err := look(dir)
	if err != nil {
		return nil, fmt.Errorf("open raft stores: %w", err)
	}
	snaps, err := raft.NewFileSnapshotStoreWithLogger(dir, keepSnapshots, hl)
	if err != nil {
		return nil, fmt.Errorf("open raft snapshots in %s: %w", dir, err)
	}
	if l.snap, err = newestReadable(snaps); err != nil {
		return nil, fmt.Errorf("open raft snapshots in %s: %w", dir, err)
	}
	if err := l.judge(); err != nil {
		return nil, fmt.Errorf("open raft stores: %w", err)
	}
	w, err := l.openLog(walDir, segment, hl)
	if err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	db, err := openStable(filepath.Join(dir, stableFile))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open raft stable store in %s: %w", dir, err), w.Close())
	}
	s := &Stores{Logs: w, Stable: summed{db}, Snapshots: snaps, Close: func() error {
		return errors.Join(w.Close(), db.Close())
	}}
	s.marker = newMarker(s, l.stable.mark)
	return s, nil
}

// NewStores makes Stores of parts that were opened elsewhere and have no files to look
// through, such as disks in memory. Close is nil.
func NewStores(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore) *Stores {
	s := &Stores{Logs: logs, Stable: stable, Snapshots: snapshots}
	s.marker = newMarker(s, mark{})
	return s
}

// HasState reports whether the stores hold a cluster's state.
func (s *Stores) HasState() (bool, error) {
	return raft.HasExistingState(s.Logs, s.Stable, s.Snapshots)
}

var (
	keyTerm     = []byte("CurrentTerm")  // raft's own key
	keyVoteTerm = []byte("LastVoteTerm") // and this
	keyBoot     = []byte("usher/boot")
	keyNonce    = []byte("usher/nonce")
	keyMark     = []byte("usher/log-end")
)

// Bootstrap writes the initial state of a new cluster of which self is the only
// voter, as a snapshot, so that it is there before the first leader. It refuses
// where state exists.
func (s *Stores) Bootstrap(self string, initial *fsm.Snapshot) error {
	return s.begin(self, initial, mark{index: 1, term: 1})
}

// begin is Bootstrap at an index and term of Raft.
func (s *Stores) begin(self string, initial *fsm.Snapshot, at mark) error {
	has, err := s.HasState()
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if has {
		return fmt.Errorf("bootstrap: %w", raft.ErrCantBootstrap)
	}
	if err := s.Stable.SetUint64(keyTerm, at.term); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	conf := raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(self), Address: raft.ServerAddress(self),
	}}}
	_, mem := raft.NewInmemTransport("") // the store only wants one to encode old peer lists
	defer mem.Close()
	sink, err := s.Snapshots.Create(1, at.index, at.term, conf, at.index, mem)
	if err != nil {
		return fmt.Errorf("bootstrap: create snapshot: %w", err)
	}
	if _, err := initial.WriteTo(sink); err != nil {
		return errors.Join(fmt.Errorf("bootstrap: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("bootstrap: close snapshot: %w", err)
	}
	if err := s.marker.note(); err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	return nil
}

// Boot is one start of this node: its number, and a nonce drawn at that start. A
// node table that knows a later start, or the same with another nonce, shows that
// this data directory was rolled back.
type Boot struct {
	Number uint64
	Nonce  []byte
}

// LastBoot is the start before this one; its number is zero when there was none.
func (s *Stores) LastBoot() (Boot, error) {
	n, err := s.get(keyBoot)
	if err != nil || len(n) != 8 {
		return Boot{}, err
	}
	nonce, err := s.get(keyNonce)
	return Boot{Number: binary.BigEndian.Uint64(n), Nonce: nonce}, err
}

// SetBoot records a start.
func (s *Stores) SetBoot(b Boot) error {
	if err := s.Stable.Set(keyNonce, b.Nonce); err != nil {
		return fmt.Errorf("record start: %w", err)
	}
	if err := s.Stable.Set(keyBoot, binary.BigEndian.AppendUint64(nil, b.Number)); err != nil {
		return fmt.Errorf("record start: %w", err)
	}
	return nil
}

// RolledBack reports whether a record of this node in the node table is newer than
// what its own stable store knows.
func (b Boot) RolledBack(recorded uint64, nonce []byte) bool {
	return recorded > b.Number || recorded == b.Number && recorded > 0 && !bytes.Equal(nonce, b.Nonce)
}

func (s *Stores) get(key []byte) ([]byte, error) {
	v, err := s.Stable.Get(key)
	if errors.Is(err, boltdb.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read raft stable store: %w", err)
	}
	return v, nil
}
