package consensus

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// logFiles is what the files of the log say without being opened for writing.
type logFiles struct {
	exists      bool // there is a wal-meta.db
	first, last uint64
	// What a crash left half done, and mend finishes.
	unsealed *types.PersistentState // the last segment is full, and wal-meta.db is to say so
	empty    string                 // a last segment that was made and never written
	torn     *tornEnd               // a batch that was not written to its end
}

// readLog looks through the log in dir: wal-meta.db, every segment that it lists, and
// whether they join up.
func readLog(dir string) (logFiles, error) {
	path := filepath.Join(dir, metadb.FileName)
	b, err := readBolt(path)
	if err != nil {
		return logFiles{}, err
	}
	if b == nil {
		return logFiles{}, noSegments(dir, path)
	}
	meta, stable := b[metadb.MetaBucket], b[metadb.StableBucket]
	if meta == nil || stable == nil {
		return logFiles{}, damaged(path, "is damaged: a bucket is missing")
	}
	var state types.PersistentState
	if v := meta[metadb.MetaKey]; v != nil {
		if err := json.Unmarshal(v, &state); err != nil {
			return logFiles{}, damaged(path, "is damaged: %v", err)
		}
	}
	out := logFiles{exists: true}
	for i, info := range state.Segments {
		if err := out.add(dir, info, i == len(state.Segments)-1, state); err != nil {
			return logFiles{}, err
		}
	}
	return out, nil
}

// noSegments refuses segments without the file that lists them: raft-wal would
// delete them.
func noSegments(dir, meta string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(found) == 0 {
		return err
	}
	return damaged(meta, "is missing, and %d segments of the log are there", len(found))
}

// add looks through one more segment.
func (l *logFiles) add(dir string, info types.SegmentInfo, tail bool, state types.PersistentState) error {
	meta := filepath.Join(dir, metadb.FileName)
	sealed := !info.SealTime.IsZero()
	if info.BaseIndex == 0 || info.MinIndex < info.BaseIndex || info.ID >= state.NextSegmentID ||
		info.Codec != (&wal.BinaryCodec{}).ID() || sealed == tail || sealed && info.MaxIndex < info.MinIndex {
		return damaged(meta, "is damaged: segment %d is described impossibly", info.ID)
	}
	if l.last > 0 && info.BaseIndex != l.last+1 {
		return damaged(meta, "is damaged: entries %d to %d are in no segment", l.last+1, info.BaseIndex-1)
	}
	path := filepath.Join(dir, segment.FileName(info))
	s, size, err := scanFile(path, info)
	if tail && errors.Is(err, fs.ErrNotExist) {
		return nil // not made yet when the power went; raft-wal makes it
	}
	if errors.Is(err, fs.ErrNotExist) {
		return damaged(path, "is missing: it holds entries %d to %d", info.MinIndex, info.MaxIndex)
	}
	if err != nil {
		return err
	}
	if sealed {
		if s.entries < info.MaxIndex-info.BaseIndex+1 || s.index != info.IndexStart {
			return damaged(path, "is cut short or damaged: %d entries of %d are whole", s.entries, info.MaxIndex-info.BaseIndex+1)
		}
		l.extend(info.MinIndex, info.MaxIndex)
		return nil
	}
	return l.addTail(path, info, s, size, state)
}

func (l *logFiles) addTail(path string, info types.SegmentInfo, s segmentScan, size int64, state types.PersistentState) error {
	full := int64(info.SizeLimit)
	if s.entries == 0 {
		if size < full {
			l.empty = path
		}
		return nil
	}
	if size < full { // segments are made at their full size
		return damaged(path, "is cut short: %d bytes of %d are left", size, full)
	}
	last := info.BaseIndex + s.entries - 1
	if last >= info.MinIndex {
		l.extend(info.MinIndex, last)
	}
	switch {
	case s.index > 0:
		l.unsealed = rotated(state, last, s.index)
	case s.end < size:
		l.torn = &tornEnd{path, s.end, size}
	}
	return nil
}

// tornEnd is what stands behind the last whole batch of the last segment: zeros, or what a
// crash or a full disk left of another batch, which nobody was told of. If that was to seal the
// segment, raft-wal takes it for sealed when it opens, and refuses every further entry.
type tornEnd struct {
	path     string
	from, to int64
}

// erase makes it zeros. Nothing is written where nothing is torn.
func (t tornEnd) erase() error {
	f, err := os.OpenFile(t.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	used, err := lastByte(f, t.from, t.to)
	if err == nil && used > t.from {
		_, err = f.WriteAt(make([]byte, used-t.from), t.from)
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

func (l *logFiles) extend(first, last uint64) {
	if l.first == 0 {
		l.first = first
	}
	l.last = last
}

func scanFile(path string, info types.SegmentInfo) (segmentScan, int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return segmentScan{}, 0, err
	}
	if !st.Mode().IsRegular() {
		return segmentScan{}, 0, damaged(path, "is not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return segmentScan{}, 0, err
	}
	defer f.Close()
	s, err := scanSegment(f, st.Size(), info)
	if err != nil {
		return s, 0, damaged(path, "is damaged after entry %d: %v", info.BaseIndex+s.entries-1, err)
	}
	return s, st.Size(), nil
}

// rotated is the state after the last segment was full: what raft-wal was about to
// write when the process ended. It does not catch up on that itself, and then refuses
// every further entry.
func rotated(state types.PersistentState, last, index uint64) *types.PersistentState {
	n := len(state.Segments)
	segments := append([]types.SegmentInfo(nil), state.Segments...)
	tail := &segments[n-1]
	tail.SealTime, tail.MaxIndex, tail.IndexStart = time.Now(), last, index
	return &types.PersistentState{
		NextSegmentID: state.NextSegmentID + 1,
		Segments: append(segments, types.SegmentInfo{
			ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
			SizeLimit: tail.SizeLimit, Codec: tail.Codec, CreateTime: time.Now(),
		}),
	}
}

// mend finishes what a crash interrupted. No step takes an entry away.
func (l *logFiles) mend(dir string) error {
	if l.empty != "" { // else it would never get its full size, by which a cut is seen
		if err := os.Remove(l.empty); err != nil {
			return err
		}
	}
	if l.torn != nil {
		if err := l.torn.erase(); err != nil {
			return fmt.Errorf("erase what was not written to its end: %w", err)
		}
	}
	if l.unsealed == nil {
		return nil
	}
	var db metadb.BoltMetaDB
	return guarded(filepath.Join(dir, metadb.FileName), func() error {
		if _, err := db.Load(dir); err != nil {
			return err
		}
		return errors.Join(db.CommitState(*l.unsealed), db.Close())
	})
}

// openLog opens a log that was found good. What raft-wal then sees must be what was
// seen before.
func (l looked) openLog(dir string, size int, log hclog.Logger) (*wal.WAL, error) {
	if err := l.log.mend(dir); err != nil {
		return nil, err
	}
	var w *wal.WAL
	err := guarded(dir, func() (err error) {
		w, err = wal.Open(dir, wal.WithSegmentSize(size), wal.WithLogger(log))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = l.judgeOpened(w)
	if err == nil && l.log.last > 0 && l.log.last < l.snap.index {
		// A leader's snapshot was installed, and the process ended before Raft dropped
		// the log. The next entry would not follow on it.
		err = w.DeleteRange(l.log.first, l.log.last)
	}
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}
