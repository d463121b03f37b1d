package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/ushercluster/usher/fsm"
)

// What the bounds of the state push out, audit rows and ended occurrences, goes to
// files on every server, one JSON object a line. Eviction is deterministic, so
// every server writes the same.
const (
	archiveDir   = "archive"
	archiveBytes = 16 << 20
	archiveKeep  = 8 // files, the present one included
	archiveLook  = 64 << 10
	archiveTail  = 4 << 20 // of the end of a file is looked at; a row is far smaller
)

// archive writes evicted rows behind the state's back: the FSM must not wait for it.
type archive struct {
	path string
	last uint64 // revision up to which rows have been written before this start

	mu    sync.Mutex
	queue []fsm.Evicted
	wake  chan struct{}
}

// line is one archived row.
type line struct {
	Evicted    uint64          `json:"evicted"` // revision of the command that pushed it out
	Audit      *fsm.Audit      `json:"audit,omitempty"`
	Occurrence *fsm.Occurrence `json:"occurrence,omitempty"`
}

func openArchive(dataDir string) (*archive, error) {
	dir := filepath.Join(dataDir, archiveDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	a := &archive{path: filepath.Join(dir, "evicted.jsonl"), wake: make(chan struct{}, 1)}
	var err error
	if a.last, err = mendArchive(a.path); err == nil && a.last == 0 {
		a.last, err = mendArchive(a.rotated(1)) // the present file was just begun
	}
	if err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return a, nil
}

// mendArchive returns the revision in the last whole row of a file, and cuts off what
// follows the last whole line: the next row must not be glued to half of one. After a
// restart Raft replays its log, and what was archived then must not be archived again.
// It reads no more than archiveTail from the end; 0 if there is no row in that.
func mendArchive(path string) (uint64, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	last, torn, err := lastArchived(f, st.Size())
	if err == nil && torn >= 0 {
		err = f.Truncate(torn)
	}
	return last, err
}

// lastArchived reads the end of a file: the revision of the last row, and where a torn
// line begins, or -1 when the file ends well. It looks at more and more until it finds
// a row.
func lastArchived(f io.ReaderAt, size int64) (last uint64, torn int64, err error) {
	for n := int64(archiveLook); ; n *= 4 {
		n = min(n, size, archiveTail)
		b := make([]byte, n)
		if _, err := f.ReadAt(b, size-n); err != nil && !errors.Is(err, io.EOF) {
			return 0, -1, err
		}
		last, whole, found := lastRow(b, n == size)
		if !found && n < min(size, archiveTail) {
			continue
		}
		torn = size - n + int64(whole)
		if torn == size || whole == 0 && n < size { // a line of 4 MiB is not ours to cut
			torn = -1
		}
		return last, torn, nil
	}
}

// lastRow finds the last row in the end of a file, and how many bytes are in whole
// lines. If the file does not begin with b, the first line may be half of one.
func lastRow(b []byte, fromStart bool) (last uint64, whole int, found bool) {
	whole = bytes.LastIndexByte(b, '\n') + 1
	for rest := b[:whole]; len(rest) > 0; {
		at := bytes.LastIndexByte(rest[:len(rest)-1], '\n') + 1
		if at == 0 && !fromStart {
			return 0, whole, false
		}
		var l line
		if json.Unmarshal(rest[at:], &l) == nil && l.Evicted > 0 {
			return l.Evicted, whole, true
		}
		rest = rest[:at]
	}
	return 0, whole, false
}

// add queues rows. It does not block.
func (a *archive) add(rows []fsm.Evicted) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rows {
		if r.Revision > a.last {
			a.queue = append(a.queue, r)
		}
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// run writes what is queued until ctx ends, and the rest then.
func (a *archive) run(ctx context.Context) error {
	for {
		var ended bool
		select {
		case <-a.wake:
		case <-ctx.Done():
			ended = true
		}
		a.mu.Lock()
		rows := a.queue
		a.queue = nil
		a.mu.Unlock()
		if len(rows) > 0 {
			if err := a.write(rows); err != nil {
				return fmt.Errorf("archive: %w", err)
			}
		}
		if ended {
			return nil
		}
	}
}

func (a *archive) write(rows []fsm.Evicted) error {
	if st, err := os.Stat(a.path); err == nil && st.Size() >= archiveBytes {
		if err := a.rotate(); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(a.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, r := range rows {
		if err := enc.Encode(line{Evicted: r.Revision, Audit: r.Audit, Occurrence: r.Occurrence}); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

func (a *archive) rotate() error {
	for i := archiveKeep - 1; i > 1; i-- {
		if err := os.Rename(a.rotated(i-1), a.rotated(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(a.path, a.rotated(1))
}

func (a *archive) rotated(i int) string { return fmt.Sprintf("%s.%d", a.path, i) }
