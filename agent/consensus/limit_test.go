package consensus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/fsm"
)

const mib = 1 << 20

// slowStore is a limited store in memory and what changes it.
type slowStore struct {
	*limited
	rate atomic.Int64
	done chan struct{}
}

func newSlowStore(rate int64) *slowStore {
	s := &slowStore{done: make(chan struct{})}
	s.rate.Store(rate)
	s.limited = newLimited(raft.NewInmemSnapshotStore(), s.done, s.rate.Load)
	return s
}

// write makes a snapshot of n bytes and returns how long that took.
func (s *slowStore) write(t *testing.T, n int) time.Duration {
	t.Helper()
	began := time.Now()
	sink, err := s.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := sink.Write(bytes.Repeat([]byte("x"), n)); m != n || err != nil {
		t.Fatalf("%d of %d bytes: %v", m, n, err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

func (s *slowStore) open(t *testing.T) io.ReadCloser {
	t.Helper()
	list, err := s.List()
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	_, r, err := s.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, r io.Reader, want int) time.Duration {
	t.Helper()
	began := time.Now()
	if n, err := io.Copy(io.Discard, r); n != int64(want) || err != nil {
		t.Fatalf("%d of %d bytes: %v", n, want, err)
	}
	return time.Since(began)
}

// about allows for a tenth of a second that was saved up before.
func about(got, want time.Duration) bool {
	return got >= want-150*time.Millisecond && got <= want+50*time.Millisecond
}

func TestSnapshotsKeepTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore(2 * mib)
		if took := s.write(t, 8*mib); !about(took, 4*time.Second) {
			t.Errorf("8 MiB at 2 MiB/s written in %v", took)
		}
		if took := read(t, s.open(t), 8*mib); !about(took, 4*time.Second) {
			t.Errorf("8 MiB at 2 MiB/s sent in %v", took)
		}
		time.Sleep(time.Hour) // idle time is not saved up
		began := time.Now()
		var both sync.WaitGroup
		both.Go(func() { read(t, s.open(t), 8*mib) })
		both.Go(func() { read(t, s.open(t), 8*mib) })
		both.Wait()
		if took := time.Since(began); !about(took, 8*time.Second) {
			t.Errorf("twice 8 MiB at 2 MiB/s together sent in %v", took)
		}
	})
}

// TestSnapshotRateChangesAtOnce changes the rate while a piece of 64 KiB waits.
func TestSnapshotRateChangesAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		before int64
		change time.Duration
		after  int64
		bytes  int
		want   time.Duration
	}{
		{"faster", 64 << 10, 10*time.Second + 500*time.Millisecond, 8 * mib, 16*mib + 672<<10, 12500 * time.Millisecond},
		{"slower", 8 * mib, 2*time.Second + 4*time.Millisecond, 64 << 10, 16*mib + 640<<10, 12 * time.Second},
		{"nearly none to fast", 1 << 10, 10 * time.Second, mib, 10<<10 + mib, 11 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlowStore(c.before)
				time.AfterFunc(c.change, func() { s.rate.Store(c.after) })
				if took := s.write(t, c.bytes); !about(took, c.want) {
					t.Errorf("took %v, want %v", took, c.want)
				}
			})
		})
	}
}

func TestClosingEndsSlowSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlowStore(mib)
		s.write(t, mib)
		r := s.open(t)
		sink, err := s.Create(1, 2, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.rate.Store(1)
		began := time.Now()
		time.AfterFunc(time.Second, func() { close(s.done) })
		if _, err := sink.Write(make([]byte, mib)); !errors.Is(err, ErrClosed) {
			t.Errorf("written: %v", err)
		}
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// restored is an FSM that lifts the limit as the store's does, or does not.
type restored struct {
	raft.MockFSM
	unlimit bool
	read    int64
}

func (f *restored) Restore(r io.ReadCloser) (err error) {
	defer r.Close()
	if f.unlimit {
		unlimit(r)
	}
	f.read, err = io.Copy(io.Discard, r)
	return err
}

// TestRestoreIsNotLimited starts Raft on a snapshot, as it is done after a restart: what
// Raft hands to Restore must be a reader whose limit can be found.
func TestRestoreIsNotLimited(t *testing.T) {
	for _, free := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := newSlowStore(100 * mib)
			s.write(t, 8*mib)
			s.rate.Store(mib)
			_, trans := raft.NewInmemTransport("")
			rc := raft.DefaultConfig()
			rc.LocalID, rc.LogOutput = "a", io.Discard
			logs := raft.NewInmemStore()
			if err := logs.SetUint64(keyTerm, 1); err != nil {
				t.Fatal(err)
			}
			f := &restored{unlimit: free}
			began := time.Now()
			r, err := raft.NewRaft(rc, f, logs, logs, s, trans)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			if f.read != 8*mib || free && took > 0 || !free && took < 7*time.Second {
				t.Errorf("unlimited %v: %d bytes in %v", free, f.read, took)
			}
			if err := r.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		})
	}
}

// secret is a command with 48 KiB.
func secret(i int) fsm.Proposal {
	return fsm.Proposal{Command: &fsm.PutSecret{Name: fmt.Sprint(i), KeyID: 1, Sealed: bytes.Repeat([]byte{byte(i)}, 48<<10)}}
}

// TestInstallIsLimitedOnce sends a node a snapshot that it receives slowly, and then
// restores at once.
func TestInstallIsLimitedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commands := []fsm.Proposal{set("raft.snapshot_rate", "64KiB")}
		for i := range 5 {
			commands = append(commands, secret(i))
		}
		r := newReceiver(t, commands...)
		defer r.close()
		if !r.install(3, mark{50, 3}) { // and with it the setting
			t.Fatal("refused")
		}
		began := time.Now()
		if !r.install(3, mark{60, 3}) {
			t.Fatal("refused")
		}
		if took := time.Since(began); !about(took, 3750*time.Millisecond) {
			t.Errorf("240 KiB at 64 KiB/s received and restored in %v", took)
		}
	})
}

// TestTheStoreKeepsTheRate lets a node make a snapshot slowly, stops it in the middle of
// another, and starts it from the first.
func TestTheStoreKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newGroup(t, 1)
		defer c.stopAll()
		l := c.nodes[c.ids[0]]
		put := func(i int) {
			if _, err := l.store.Apply(t.Context(), secret(i)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			put(i)
		}
		if _, err := l.store.Apply(t.Context(), set("raft.snapshot_rate", "64KiB")); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := l.store.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); !about(took, 15*time.Second) {
			t.Errorf("960 KiB at 64 KiB/s took %v", took)
		}
		put(21)
		second := l.store.raft.Snapshot()
		time.Sleep(time.Second)
		began = time.Now()
		c.stop(l.id)
		if took := time.Since(began); took > time.Second {
			t.Errorf("a stop in the middle of a snapshot took %v", took)
		}
		if err := second.Error(); err == nil {
			t.Error("a snapshot that was broken off has no error")
		}
		began = time.Now()
		c.start(l.id)
		if took, n := time.Since(began), len(l.fsm.View().Secrets("")); took > time.Second || n < 20 {
			t.Errorf("started in %v with %d secrets", took, n)
		}
	})
}

// TestOvertakenSnapshot lets a later snapshot end before an earlier one, as when a
// follower that writes its own is sent the leader's.
func TestOvertakenSnapshot(t *testing.T) {
	files, err := raft.NewFileSnapshotStoreWithLogger(t.TempDir(), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := newLimited(files, nil, func() int64 { return 1 << 30 })
	_, mem := raft.NewInmemTransport("")
	create := func(index uint64) raft.SnapshotSink {
		t.Helper()
		sink, err := s.Create(1, index, 1, raft.Configuration{}, 1, mem)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(sink, "state"); err != nil {
			t.Fatal(err)
		}
		return sink
	}
	own, installed := create(10), create(20)
	if err := installed.Close(); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(); !errors.Is(err, errOvertaken) {
		t.Errorf("the earlier one: %v", err)
	}
	list, err := s.List()
	if err != nil || len(list) != 1 || list[0].Index != 20 {
		t.Errorf("kept: %v, %v", list, err)
	}
	for made := time.Now().UnixMilli(); time.Now().UnixMilli() == made; { // names are by the millisecond
		runtime.Gosched()
	}
	if err := create(20).Close(); err != nil {
		t.Errorf("the same once more: %v", err)
	}
}
