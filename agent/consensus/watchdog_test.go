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

// TestLeaderWithAHangingDiskIsReplaced lets the leader's disk hang under a write: another
// one leads long before the process ends, and when the disk answers again there is one
// leader still.
func TestLeaderWithAHangingDiskIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l := settled(t, 3)
		defer c.stopAll()
		l.slow.Store(int64(8 * time.Second))
		began := time.Now()
		go func() { _, _ = l.store.Apply(t.Context(), set("log.level", "debug")) }()
		time.Sleep(50 * time.Millisecond)
		l.slow.Store(0)
		next := c.leader(l.id)
		if _, err := next.store.Apply(t.Context(), set("log.level", "warn")); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("writes stood still for %s", took)
		}
		time.Sleep(10 * time.Second)
		c.agree()
		if err := l.fatal.Load(); err != nil {
			t.Error(*err)
		}
		leaders := 0
		for _, m := range c.nodes {
			if m.store.Status().IsLeader {
				leaders++
			}
		}
		if leaders != 1 {
			t.Errorf("%d lead", leaders)
		}
	})
}

// TestStableErrorEndsTheProcess fails to write what a voter must not forget.
func TestStableErrorEndsTheProcess(t *testing.T) {
	bad := errors.New("bad disk")
	for _, c := range []struct {
		name  string
		write func(*stable) error
	}{
		{"the vote", func(s *stable) error { return s.Set([]byte("LastVoteCand"), []byte("n")) }},
		{"the term", func(s *stable) error { return s.SetUint64(keyTerm, 2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fatal error
			s := &stable{StableStore: failingStable{bad}, fatal: func(err error) { fatal = err }}
			if err := c.write(s); !errors.Is(err, bad) || !errors.Is(fatal, bad) {
				t.Errorf("error %v, fatal %v", err, fatal)
			}
		})
	}
}

type failingStable struct{ err error }

func (f failingStable) Set(_, _ []byte) error            { return f.err }
func (f failingStable) Get([]byte) ([]byte, error)       { return nil, f.err }
func (f failingStable) SetUint64([]byte, uint64) error   { return f.err }
func (f failingStable) GetUint64([]byte) (uint64, error) { return 0, f.err }

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
