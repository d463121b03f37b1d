package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/fsm"
)

// Raft replays its log only up to the commit index that a leader tells it, so
// before there is a leader there is no live state. state.cache holds what doors,
// handshakes and address look-ups need until then.

const (
	cacheInterval = 10 * time.Second // between two that differ in what can wait
	cacheSoon     = time.Second      // and in what doors go by
	cacheFirst    = 250 * time.Millisecond
)

// CachedView reads state.cache, for what an agent needs before Raft is opened; false
// when there is none that can be read.
func CachedView(path string, log zerolog.Logger) (fsm.View, bool) {
	if v := readCache(path, log); v != nil {
		return *v, true
	}
	return fsm.View{}, false
}

// readCache returns the cached view, or nil. A damaged cache is no fault: it is set
// aside for whoever wants to look, and the live state will come.
func readCache(path string, log zerolog.Logger) *fsm.View {
	if path == "" {
		return nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		var v fsm.View
		if v, err = fsm.ReadCache(bytes.NewReader(b)); err == nil {
			return &v
		}
	}
	log.Warn().Err(err).Str(logs.Path, path).Msg("state cache cannot be read and is set aside")
	_ = os.Rename(path, path+".damaged") // if not, the next write replaces it
	return nil
}

// basics is when the rows that doors and handshakes go by last changed.
type basics struct {
	settings, nodes, secrets int // rows: a deletion leaves no other trace
	modified                 uint64
}

func basicsOf(v fsm.View) basics {
	settings, nodes, secrets := v.SettingRows(), v.Nodes(), v.Secrets("")
	b := basics{settings: len(settings), nodes: len(nodes), secrets: len(secrets)}
	for _, r := range settings {
		b.modified = max(b.modified, r.Modified)
	}
	for _, r := range nodes {
		b.modified = max(b.modified, r.Modified)
	}
	for _, r := range secrets {
		b.modified = max(b.modified, r.Modified)
	}
	return b
}

// keepCache writes the cache a second after something that doors go by has changed, for
// all else at most every ten seconds, and once more at the end. The first time it writes as
// soon as there is a state: a node that joined and is killed at once must know the others
// when it comes back.
func (s *Store) keepCache() {
	for v := s.cfg.FSM.View(); v.Cluster() == nil; v = s.cfg.FSM.View() {
		select {
		case <-v.Newer():
		case <-s.stop:
			return
		}
	}
	var (
		written uint64    // the revision that is in the file
		known   basics    // when it was tried last
		at      time.Time // that was
		took    time.Duration
	)
	for wait, ended := cacheFirst, false; !ended; wait = max(cacheSoon, 20*took) { // a large one not all the time
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.stop:
			ended = true
		}
		t.Stop()
		v := s.cfg.FSM.View()
		now := basicsOf(v)
		old := s.cached != nil && v.Revision() < s.cached.Revision()
		if v.Cluster() != nil && !old && v.Revision() != written && (ended || now != known || time.Since(at) >= cacheInterval) {
			at = time.Now()
			if err := writeCache(s.cfg.Cache, v); err != nil {
				s.log.Error().Err(err).Msg("cannot write the state cache")
			} else {
				written = v.Revision()
			}
			known, took = now, time.Since(at)
		}
		if ended || v.Revision() != written {
			continue
		}
		select { // nothing to look at until then
		case <-v.Newer():
		case <-s.stop: // one more look
		}
	}
}

func writeCache(path string, v fsm.View) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".state.cache-*") // 0600
	if err != nil {
		return fmt.Errorf("write state cache: %w", err)
	}
	defer os.Remove(f.Name())
	err = v.WriteCache(f)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write state cache: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write state cache: %w", err)
	}
	return nil
}
