package consensus

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
)

func TestDiskErrorEndsTheProcess(t *testing.T) {
	bad := errors.New("bad disk")
	var fatal error
	w := &watchdog{LogStore: failing{bad}, log: zerolog.Nop(), fatal: func(err error) { fatal = err }}
	if err := w.StoreLogs(nil); !errors.Is(err, bad) || !errors.Is(fatal, bad) {
		t.Fatalf("error %v, fatal %v", err, fatal)
	}
	if !w.IsMonotonic() {
		t.Fatal("the watchdog hides that the store is monotonic")
	}
}

func TestHangingDiskEndsTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fatal atomic.Bool
		w := &watchdog{LogStore: hanging{time.Minute}, log: zerolog.Nop(), fatal: func(error) { fatal.Store(true) }}
		go func() { _ = w.StoreLogs(nil) }()
		time.Sleep(diskHung - time.Second)
		if fatal.Load() {
			t.Fatal("too early")
		}
		time.Sleep(2 * time.Second)
		if !fatal.Load() {
			t.Fatal("a hanging disk was not noticed")
		}
		time.Sleep(time.Minute)
	})
}

type failing struct{ err error }

func (f failing) FirstIndex() (uint64, error)      { return 0, nil }
func (f failing) LastIndex() (uint64, error)       { return 0, nil }
func (f failing) GetLog(uint64, *raft.Log) error   { return f.err }
func (f failing) StoreLog(*raft.Log) error         { return f.err }
func (f failing) StoreLogs([]*raft.Log) error      { return f.err }
func (f failing) DeleteRange(uint64, uint64) error { return f.err }
func (f failing) IsMonotonic() bool                { return true }

type hanging struct{ d time.Duration }

func (h hanging) FirstIndex() (uint64, error)      { return 0, nil }
func (h hanging) LastIndex() (uint64, error)       { return 0, nil }
func (h hanging) GetLog(uint64, *raft.Log) error   { return nil }
func (h hanging) StoreLog(*raft.Log) error         { return nil }
func (h hanging) StoreLogs([]*raft.Log) error      { time.Sleep(h.d); return nil }
func (h hanging) DeleteRange(uint64, uint64) error { return nil }
