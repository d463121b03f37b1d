package consensus

import (
	"errors"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/rs/zerolog"
)

// onDisk is the mark as the next start would read it.
func onDisk(t *testing.T, dir string) mark {
	t.Helper()
	f, err := readStable(filepath.Join(dir, stableFile))
	must(t, err)
	return f.mark
}

func TestMarkFollowsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(2 * markEvery)
		raftDir := filepath.Join(l.dir, "raft")
		for range 5 {
			if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
				t.Fatal(err)
			}
		}
		last := l.store.Status().LastIndex
		if got := onDisk(t, raftDir); got.index >= last {
			t.Fatalf("the mark is at %d of %d at once: it was written with the appends", got.index, last)
		}
		time.Sleep(markEvery + time.Second)
		if got := onDisk(t, raftDir); got.index != last || got.term != l.store.Status().Term {
			t.Fatalf("while running: mark %+v, want entry %d of term %d", got, last, l.store.Status().Term)
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "browser")); err != nil {
			t.Fatal(err)
		}
		last = l.store.Status().LastIndex
		c.stop(l.id)
		if got := onDisk(t, raftDir); got.index != last {
			t.Fatalf("after a stop: mark at %d, want %d", got.index, last)
		}
		c.start(l.id)
	})
}

// TestMarkIsWokenByManyEntries: a burst does not wait for the clock.
func TestMarkIsWokenByManyEntries(t *testing.T) {
	s := reopened(t, filepath.Join(t.TempDir(), "raft"))
	defer s.Close()
	w := &watchdog{LogStore: s.Logs, marker: s.marker, ate: func([]*raft.Log) {}, log: zerolog.Nop(), fatal: func(err error) { t.Error(err) }}
	var burst []*raft.Log
	for i := range uint64(markEntries) {
		burst = append(burst, &raft.Log{Index: 1 + i, Term: 1})
	}
	must(t, w.StoreLogs(burst[:markEntries-1]))
	if len(s.marker.wake) != 0 {
		t.Fatal("woken too early")
	}
	for range 2 {
		must(t, w.StoreLogs(burst[markEntries-1:]))
		if len(s.marker.wake) != 1 {
			t.Fatal("not woken")
		}
		burst[markEntries-1].Index++
	}
	must(t, s.marker.note())
	if <-s.marker.wake; s.marker.now.index != markEntries+1 {
		t.Fatalf("mark %+v", s.marker.now)
	}
	must(t, w.StoreLogs(burst[markEntries-1:]))
	if len(s.marker.wake) != 0 {
		t.Fatal("woken again at once")
	}
}

// TestTruncationTakesTheMarkBackFirst: a follower gives entries up that a new leader
// does not have. If it is killed right then, its log ends before the old mark.
func TestTruncationTakesTheMarkBackFirst(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to uint64
		want     uint64
	}{
		{"the end", 50, lastEntry, 49},
		{"the end, as far as the mark", lastEntry, lastEntry, lastEntry - 1},
		{"the beginning", 2, 30, lastEntry},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t)
			s := reopened(t, dir)
			w := &watchdog{LogStore: s.Logs, marker: s.marker, ate: func([]*raft.Log) {}, log: zerolog.Nop(), fatal: func(err error) { t.Error(err) }}
			err := s.marker.deleting(c.from, c.to, func() error {
				if got := onDisk(t, dir).index; got != c.want {
					t.Errorf("mark at %d before the entries go, want %d", got, c.want)
				}
				return errors.New("killed")
			})
			if err == nil {
				t.Fatal("the truncation's error was lost")
			}
			must(t, errors.Join(w.DeleteRange(c.from, c.to), s.Close()))
			if c.from > 2 {
				s = reopened(t, dir)
				must(t, s.Close())
			}
		})
	}
}

// TestSnapshotTakesTheLogsPlace: a follower that installed a leader's snapshot has no
// log. The next mark is the snapshot's.
func TestSnapshotTakesTheLogsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		m := c.nodes[c.ids[0]]
		end, err := m.stores.end()
		must(t, err)
		must(t, m.stores.Logs.DeleteRange(0, end.index))
		snaps, err := m.stores.Snapshots.List()
		must(t, err)
		if end, err = m.stores.end(); err != nil || end.index != snaps[0].Index || end.term != snaps[0].Term {
			t.Fatalf("end %+v, %v; want that of the snapshot", end, err)
		}
	})
}

// TestAFollowerThatLostItsTailDoesNotStart is the whole of it: acknowledged entries
// are cut from the log of a node that was stopped in order.
func TestAFollowerThatLostItsTailDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		follower := c.nodes[c.ids[1]]
		if follower == l {
			follower = c.nodes[c.ids[2]]
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.stop(follower.id)
		dir := filepath.Join(follower.dir, "raft")
		all, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
		must(t, err)
		edit(t, all[len(all)-1], zeroed(300, 0))
		_, err = OpenStores(dir, zerolog.Nop())
		var d *DamageError
		if !errors.As(err, &d) {
			t.Fatalf("it was opened: %v", err)
		}
	})
}
