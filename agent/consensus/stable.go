package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/ushercluster/usher/agent/durable"
)

// summed is a stable store whose values end in a check sum: bbolt has none for them,
// and a term or a vote that is not the one that was written is worse than none.
type summed struct{ raft.StableStore }

const sumSize = 4

// Set implements raft.StableStore.
func (s summed) Set(key, val []byte) error {
	return s.StableStore.Set(key, binary.BigEndian.AppendUint32(append([]byte(nil), val...), sumOf(key, val)))
}

// Get implements raft.StableStore. The error for a key that is not there is passed on
// as it is: raft knows it by its text.
func (s summed) Get(key []byte) ([]byte, error) {
	b, err := s.StableStore.Get(key)
	if err != nil {
		return nil, err
	}
	return unsum(key, b)
}

// SetUint64 implements raft.StableStore.
func (s summed) SetUint64(key []byte, val uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, val))
}

// GetUint64 implements raft.StableStore.
func (s summed) GetUint64(key []byte) (uint64, error) {
	b, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	return number(key, b)
}

// sumOf covers the key too, so that values cannot change places.
func sumOf(key, val []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(key, table), table, val)
}

func unsum(key, b []byte) ([]byte, error) {
	n := len(b) - sumSize
	if n < 0 || binary.BigEndian.Uint32(b[n:]) != sumOf(key, b[:n]) {
		return nil, fmt.Errorf("the value of %q has a wrong check sum", key)
	}
	return b[:n:n], nil
}

func number(key, b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("the value of %q has %d bytes", key, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// facts are what stable.db says.
type facts struct {
	exists   bool
	term     uint64
	voteTerm uint64
	mark     mark
}

// The bucket of raft-boltdb for values.
const stableBucket = "conf"

// readStable looks through stable.db.
func readStable(path string) (facts, error) {
	b, err := readBolt(path)
	if err != nil || b == nil {
		return facts{}, err
	}
	f := facts{exists: true}
	keys := b[stableBucket]
	if keys == nil {
		return f, damaged(path, "is damaged: a bucket is missing")
	}
	for k, v := range keys {
		val, err := unsum([]byte(k), v)
		if err == nil {
			err = f.take(k, val)
		}
		if err != nil {
			return f, damaged(path, "is damaged: %v", err)
		}
	}
	if f.voteTerm > f.term {
		return f, damaged(path, "is damaged: a vote in term %d, but the term is %d", f.voteTerm, f.term)
	}
	return f, nil
}

func (f *facts) take(key string, val []byte) (err error) {
	switch key {
	case string(keyTerm):
		f.term, err = number(keyTerm, val)
	case string(keyVoteTerm):
		f.voteTerm, err = number(keyVoteTerm, val)
	case string(keyMark):
		f.mark, err = parseMark(val)
	}
	return err
}

// openStable opens stable.db. A new one appears whole or not at all: bbolt takes a
// file of no bytes for a new one, and we must not.
func openStable(path string) (*boltdb.BoltStore, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		fresh := path + ".new"
		if err := os.RemoveAll(fresh); err != nil {
			return nil, err
		}
		db, err := boltAt(fresh)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(db.Close(), durable.Rename(fresh, path)); err != nil {
			return nil, err
		}
	}
	return boltAt(path)
}

func boltAt(path string) (db *boltdb.BoltStore, err error) {
	err = guarded(path, func() error {
		db, err = boltdb.New(boltdb.Options{Path: path, BoltOptions: &bbolt.Options{
			Timeout: diskSlow, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		}})
		return err
	})
	return db, err
}
