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
	cacheInterval = 10 * time.Second
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

// keepCache writes the cache whenever the state moved, at most every ten seconds,
// and once more at the end. The first time it writes as soon as there is a state: a
// node that joined and is killed at once must know the others when it comes back.
func (s *Store) keepCache() {
	var written uint64
	for v := s.cfg.FSM.View(); v.Cluster() == nil; v = s.cfg.FSM.View() {
		select {
		case <-v.Newer():
		case <-s.stop:
			return
		}
	}
	t := time.NewTimer(cacheFirst)
	defer t.Stop()
	for {
		var ended bool
		select {
		case <-t.C:
			t.Reset(cacheInterval)
		case <-s.stop:
			ended = true
		}
		v := s.cfg.FSM.View()
		old := s.cached != nil && v.Revision() < s.cached.Revision()
		if v.Revision() != written && v.Cluster() != nil && !old {
			if err := writeCache(s.cfg.Cache, v); err != nil {
				s.log.Error().Err(err).Msg("cannot write the state cache")
			} else {
				written = v.Revision()
			}
		}
		if ended {
			return
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
