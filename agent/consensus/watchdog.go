package consensus

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
)

// Bounds of the watchdog. A leader whose disk hangs keeps its followers waiting
// (raft#503): after diskSlow it is silent, so that another one leads, and after diskHung
// its process ends.
const (
	diskSlow = time.Second
	diskHung = 10 * time.Second
)

// watchdog guards a log store: it warns of slow writes, ends the process on hanging
// ones and on any error. After a failed fsync nothing is known of what is on the
// disk, so a write is never tried again.
type watchdog struct {
	raft.LogStore
	marker *marker
	ate    func([]*raft.Log) // what was written
	log    zerolog.Logger
	fatal  func(error)
	end    atomic.Pointer[mark]      // of the log; nil: not known
	began  atomic.Pointer[time.Time] // of the write of entries that is under way; nil: none is
}

var _ raft.MonotonicLogStore = (*watchdog)(nil)

// IsMonotonic implements raft.MonotonicLogStore for the store below.
func (w *watchdog) IsMonotonic() bool {
	m, ok := w.LogStore.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

// StoreLog implements raft.LogStore.
func (w *watchdog) StoreLog(l *raft.Log) error { return w.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (w *watchdog) StoreLogs(ls []*raft.Log) error {
	now := time.Now()
	w.began.Store(&now)
	err := w.guard("write raft log", func() error { return w.LogStore.StoreLogs(ls) })
	w.began.Store(nil)
	if err == nil && len(ls) > 0 {
		last := ls[len(ls)-1]
		w.end.Store(&mark{last.Index, last.Term})
		w.marker.grown(last.Index)
		w.ate(ls)
	}
	return err
}

// stuck reports whether entries wait for the disk for so long that this server is no good
// leader. Raft's heartbeats would go on all the same, for they write nothing.
func (w *watchdog) stuck() bool {
	began := w.began.Load()
	return began != nil && time.Since(*began) > diskSlow
}

// DeleteRange implements raft.LogStore.
func (w *watchdog) DeleteRange(from, to uint64) error {
	if end := w.end.Load(); end != nil && to >= end.index {
		w.end.Store(nil)
	}
	return w.guard("truncate raft log", func() error {
		return w.marker.deleting(from, to, func() error { return w.LogStore.DeleteRange(from, to) })
	})
}

// GetLog implements raft.LogStore. An entry that is not there is no fault.
func (w *watchdog) GetLog(i uint64, l *raft.Log) error {
	err := w.LogStore.GetLog(i, l)
	if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
		w.fatal(fmt.Errorf("read raft log entry %d: %w", i, err))
	}
	return err
}

// has reports whether an entry is in the log.
func (w *watchdog) has(index, term uint64) bool {
	var l raft.Log
	return w.GetLog(index, &l) == nil && l.Term == term
}

func (w *watchdog) guard(what string, f func() error) error {
	began := time.Now()
	c := w.count(what)
	err := f()
	c.stop()
	if err != nil {
		w.fatal(fmt.Errorf("%s: %w", what, err))
		return err
	}
	if took := time.Since(began); took > diskSlow {
		w.log.Warn().Str("operation", what).Dur(logs.Duration, took).Msg("the disk answered late")
	}
	return nil
}

// countdown gives an operation its time in steps, so that a time in which the process stood
// still, as on a machine that was suspended, counts as one of them.
type countdown struct {
	w    *watchdog
	what string

	mu   sync.Mutex
	t    *time.Timer
	left int
	over bool
}

func (w *watchdog) count(what string) *countdown {
	c := &countdown{w: w, what: what, left: int(diskHung / diskSlow)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = time.AfterFunc(diskSlow, c.step)
	return c
}

func (c *countdown) step() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if c.left--; c.left == 0 {
		c.w.fatal(fmt.Errorf("%s: the disk did not answer for %s", c.what, diskHung))
		return
	}
	if c.left == int(diskHung/diskSlow)-1 {
		c.w.log.Warn().Str("operation", c.what).Msg("the disk is slow")
	}
	c.t.Reset(diskSlow)
}

func (c *countdown) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.t.Stop()
}

// stable guards the stable store (term and vote) the same way.
type stable struct {
	raft.StableStore
	fatal func(error)
}

func (s *stable) Set(k, v []byte) error              { return s.check(s.StableStore.Set(k, v)) }
func (s *stable) SetUint64(k []byte, v uint64) error { return s.check(s.StableStore.SetUint64(k, v)) }

func (s *stable) check(err error) error {
	if err != nil {
		s.fatal(fmt.Errorf("write raft stable store: %w", err))
	}
	return err
}

// once makes a function that may be called from anywhere run one time.
func once(f func(error)) func(error) {
	var o sync.Once
	return func(err error) { o.Do(func() { f(err) }) }
}
