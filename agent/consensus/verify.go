package consensus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// What a start looks at before Raft is opened. The three parts of raft/ are made in
// the order wal, snapshots, stable.db, and none is ever taken away, so with stable.db
// the others must be there, and without it nothing may be in them.

const (
	stableFile   = "stable.db"
	walDirName   = "wal"
	snapshotsDir = "snapshots"
)

// looked is what is below raft/.
type looked struct {
	dir    string
	stable facts
	log    logFiles
	named  uint64 // the highest index that a directory of snapshots is named for
	snap   mark   // of the newest snapshot that can be read; zero: there is none
}

// look reads everything and changes nothing, but for what FileSnapshotStore does.
func look(dir string) (looked, error) {
	l := looked{dir: dir}
	var err error
	if l.stable, err = readStable(filepath.Join(dir, stableFile)); err != nil {
		return l, err
	}
	if l.log, err = readLog(filepath.Join(dir, walDirName)); err != nil {
		return l, err
	}
	l.named, err = namedSnapshots(filepath.Join(dir, snapshotsDir))
	return l, err
}

// namedSnapshots reads the names of the snapshots, term-index-time: they tell what
// there was even when the files in them are gone.
func namedSnapshots(dir string) (highest uint64, err error) {
	all, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for _, e := range all {
		var term, index, at uint64
		if !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		if n, _ := fmt.Sscanf(e.Name(), "%d-%d-%d", &term, &index, &at); n == 3 {
			highest = max(highest, index)
		}
	}
	return highest, nil
}

// newestReadable is the newest snapshot whose check sum is right. Raft takes the same.
func newestReadable(snaps raft.SnapshotStore) (mark, error) {
	list, err := snaps.List()
	if err != nil {
		return mark{}, err
	}
	for _, m := range list {
		_, r, err := snaps.Open(m.ID)
		if err != nil {
			continue // the store has logged it
		}
		return mark{m.Index, m.Term}, r.Close()
	}
	return mark{}, nil
}

// judge decides whether that may be opened.
func (l looked) judge() error {
	stable, wal := filepath.Join(l.dir, stableFile), filepath.Join(l.dir, walDirName)
	snaps := filepath.Join(l.dir, snapshotsDir)
	some := l.log.last > 0 || l.named > 0
	switch {
	case !l.stable.exists && some:
		return damaged(stable, "is missing: the term and the vote are forgotten")
	case !l.stable.exists:
		return nil
	case !l.log.exists:
		return damaged(wal, "is missing")
	case l.named > 0 && l.snap.index == 0:
		return damaged(snaps, "none of the snapshots can be read")
	case l.log.first > l.snap.index+1:
		return damaged(snaps, "the snapshot ends at entry %d and the log begins at %d", l.snap.index, l.log.first)
	}
	reached := max(l.log.last, l.snap.index)
	switch {
	case reached < l.named:
		return damaged(snaps, "the snapshot of entry %d cannot be read, and the log ends at %d", l.named, reached)
	case reached < l.stable.mark.index:
		return damaged(wal, "ends at entry %d, but this node had entry %d on its disk", reached, l.stable.mark.index)
	case some && l.stable.term == 0:
		return damaged(stable, "has no term, but there are entries")
	case l.stable.term < l.snap.term:
		return damaged(stable, "says term %d, but there is a snapshot of term %d", l.stable.term, l.snap.term)
	}
	return nil
}

// judgeOpened compares what can be seen only once the log is open.
func (l looked) judgeOpened(logs raft.LogStore) error {
	wal := filepath.Join(l.dir, walDirName)
	last, err := logs.LastIndex()
	if err != nil {
		return err
	}
	if last != l.log.last {
		return damaged(wal, "ends at entry %d when it is read and at %d when it is opened", l.log.last, last)
	}
	if last == 0 {
		return nil
	}
	var e raft.Log
	if err := logs.GetLog(last, &e); err != nil {
		return damaged(wal, "entry %d cannot be read: %v", last, err)
	}
	if e.Term > l.stable.term {
		return damaged(filepath.Join(l.dir, stableFile), "says term %d, but there is an entry of term %d", l.stable.term, e.Term)
	}
	m := l.stable.mark
	if m.term == 0 || m.index < l.log.first || m.index > last {
		return nil
	}
	if err := logs.GetLog(m.index, &e); err != nil {
		return damaged(wal, "entry %d cannot be read: %v", m.index, err)
	}
	if e.Term != m.term {
		return damaged(wal, "is another log: entry %d is of term %d, not %d", m.index, e.Term, m.term)
	}
	return nil
}
