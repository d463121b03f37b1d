package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	if a.last, err = lastArchived(a.path); err != nil {
		return nil, fmt.Errorf("open archive: %w", err)
	}
	return a, nil
}

// lastArchived is the revision in the last whole line. After a restart Raft replays
// its log, and what was archived then must not be archived again.
func lastArchived(path string) (uint64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var last line
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var l line
		if json.Unmarshal(bytes.TrimSpace(in.Bytes()), &l) == nil {
			last = l
		}
	}
	return last.Evicted, in.Err()
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
	name := func(i int) string { return fmt.Sprintf("%s.%d", a.path, i) }
	for i := archiveKeep - 1; i > 1; i-- {
		if err := os.Rename(name(i-1), name(i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(a.path, name(1))
}
