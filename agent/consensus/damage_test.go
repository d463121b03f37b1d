package consensus

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/fsm"
)

const (
	smallSegment = 16 << 10
	lastEntry    = 61 // of the directories that written makes
	perBatch     = 3
)

// written makes the directory of a node that was stopped in order: a snapshot of entry
// 1, a log from 2 to lastEntry in several segments, term 3 and a vote in it.
func written(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "raft")
	s := reopened(t, dir)
	snap, err := fsm.New(fsm.Options{}).Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	must(t, s.Bootstrap("aaaa", snap))
	must(t, s.SetBoot(Boot{Number: 7, Nonce: []byte("nonce")}))
	must(t, s.Stable.SetUint64(keyTerm, 3))
	must(t, s.Stable.SetUint64(keyVoteTerm, 3))
	must(t, s.Stable.Set([]byte("LastVoteCand"), []byte("bbbb")))
	for i := uint64(2); i <= lastEntry; i += perBatch {
		must(t, s.Logs.StoreLogs(entries(i, perBatch, 2)))
	}
	must(t, s.marker.note())
	must(t, s.Close())
	return dir
}

func entries(first uint64, n int, term uint64) []*raft.Log {
	var ls []*raft.Log
	for i := range uint64(n) {
		ls = append(ls, &raft.Log{Index: first + i, Term: term, Data: bytes.Repeat([]byte{byte(first + i)}, 900)})
	}
	return ls
}

func reopened(t testing.TB, dir string) *Stores {
	t.Helper()
	s, err := openStores(dir, zerolog.Nop(), smallSegment)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// segments are the files of the log in order; the last one is the tail.
func segments(t testing.TB, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
	must(t, err)
	slices.Sort(all)
	if len(all) < 4 {
		t.Fatalf("only %d segments", len(all))
	}
	return all
}

func tailOf(t testing.TB, dir string) string {
	all := segments(t, dir)
	return all[len(all)-1]
}

// edit changes a file's bytes.
func edit(t testing.TB, path string, f func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, f(b), 0o600))
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:min(n, len(b))] } }

// zeroed clears a range; to the end when to is 0.
func zeroed(from, to int) func([]byte) []byte {
	return func(b []byte) []byte {
		if to == 0 {
			to = len(b)
		}
		clear(b[from:to])
		return b
	}
}

// oneMoreBatch appends two entries behind the mark and returns where they lie in the
// last segment.
func oneMoreBatch(t testing.TB, dir string) (from, to int) {
	t.Helper()
	used := func() int {
		b, err := os.ReadFile(tailOf(t, dir))
		must(t, err)
		return (len(bytes.TrimRight(b, "\x00")) + 7) &^ 7
	}
	from = used()
	s := reopened(t, dir)
	must(t, errors.Join(s.Logs.StoreLogs(entries(lastEntry+1, 2, 3)), s.Close()))
	return from, used()
}

func snapshotFile(t testing.TB, dir, name string) string {
	all, err := filepath.Glob(filepath.Join(dir, "snapshots", "*", name))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	return all[0]
}

func state(t testing.TB, dir string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = sha256.Sum256(b)
		return err
	}))
	return out
}

func TestDamageIsRefused(t *testing.T) {
	wal := func(dir string) string { return filepath.Join(dir, "wal") }
	stableDB := func(dir string) string { return filepath.Join(dir, "stable.db") }
	meta := func(dir string) string { return filepath.Join(dir, "wal", metadb.FileName) }
	remove := func(t *testing.T, path string) { must(t, os.RemoveAll(path)) }
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string)
		says string
	}{
		{"the log is gone", func(t *testing.T, dir string) { remove(t, wal(dir)) }, "wal: is missing"},
		{"wal-meta.db is gone", func(t *testing.T, dir string) { remove(t, meta(dir)) }, "wal-meta.db: is missing, and"},
		{"a sealed segment is gone", func(t *testing.T, dir string) { remove(t, segments(t, dir)[1]) }, "is missing: it holds entries"},
		{"the last segment is gone", func(t *testing.T, dir string) { remove(t, tailOf(t, dir)) }, "had entry 61"},
		{"the last segment is empty", func(t *testing.T, dir string) { edit(t, tailOf(t, dir), cut(0)) }, "had entry 61"},
		{"the last segment is cut in its entries", func(t *testing.T, dir string) { edit(t, tailOf(t, dir), cut(4000)) }, "is cut short: 4000 bytes"},
		{"the last segment is cut behind them", func(t *testing.T, dir string) { edit(t, tailOf(t, dir), cut(smallSegment-1)) }, "is cut short"},
		{"a sealed segment is cut", func(t *testing.T, dir string) { edit(t, segments(t, dir)[0], cut(9000)) }, "cut short or damaged"},
		{"the last batch is zeros", func(t *testing.T, dir string) { edit(t, tailOf(t, dir), zeroed(3000, 0)) }, "had entry 61"},
		{"a batch in the middle is zeros", func(t *testing.T, dir string) { edit(t, tailOf(t, dir), zeroed(200, 300)) }, "whole ones follow"},
		{"one bit of a sealed segment", func(t *testing.T, dir string) {
			edit(t, segments(t, dir)[1], func(b []byte) []byte { b[5000] ^= 1; return b })
		}, "is damaged after entry"},
		{"a segment is another's", func(t *testing.T, dir string) {
			other, err := os.ReadFile(segments(t, dir)[1])
			must(t, err)
			must(t, os.WriteFile(segments(t, dir)[2], other, 0o600))
		}, "header is that of another"},
		{"a segment is a directory", func(t *testing.T, dir string) {
			path := segments(t, dir)[0]
			remove(t, path)
			must(t, os.Mkdir(path, 0o700))
		}, "is not a file"},
		{"stable.db is gone", func(t *testing.T, dir string) { remove(t, stableDB(dir)) }, "stable.db: is missing"},
		{"stable.db is empty", func(t *testing.T, dir string) { edit(t, stableDB(dir), cut(0)) }, "stable.db: is damaged"},
		{"stable.db is a new one", func(t *testing.T, dir string) {
			fresh := filepath.Join(t.TempDir(), "raft")
			must(t, reopened(t, fresh).Close())
			must(t, os.Rename(stableDB(fresh), stableDB(dir)))
		}, "has no term"},
		{"stable.db is an old one", func(t *testing.T, dir string) {
			old := filepath.Join(t.TempDir(), "raft")
			s := reopened(t, old)
			must(t, errors.Join(s.Stable.SetUint64(keyTerm, 1), s.Close()))
			must(t, os.Rename(stableDB(old), stableDB(dir)))
		}, "says term 1, but there is an entry of term 2"},
		{"snapshots are gone", func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "snapshots")) }, "the log begins at 2"},
		{"the snapshot is damaged", func(t *testing.T, dir string) {
			edit(t, snapshotFile(t, dir, "state.bin"), func(b []byte) []byte { b[10] ^= 1; return b })
		}, "none of the snapshots can be read"},
		{"the snapshot's description is damaged", func(t *testing.T, dir string) { edit(t, snapshotFile(t, dir, "meta.json"), cut(20)) },
			"none of the snapshots can be read"},
		{"a newer snapshot is damaged", func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, "snapshots", "2-70-1700000000000"), 0o700))
		}, "the snapshot of entry 70 cannot be read, and the log ends at 61"},
		{"the log is another one", func(t *testing.T, dir string) {
			other := filepath.Join(t.TempDir(), "raft")
			s := reopened(t, other)
			must(t, errors.Join(s.Logs.StoreLogs(entries(2, 70, 1)), waitRotated(s, 71), s.Close()))
			remove(t, wal(dir))
			must(t, os.Rename(wal(other), wal(dir)))
		}, "entry 61 is of term 1, not 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t)
			c.do(t, dir)
			before := state(t, dir)
			s, err := openStores(dir, zerolog.Nop(), smallSegment)
			if err == nil {
				s.Close()
				t.Fatal("it was opened")
			}
			var d *DamageError
			if !errors.As(err, &d) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v; want a *DamageError that says %q", err, c.says)
			}
			if after := state(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Fatal("the files were changed")
			}
		})
	}
}

// TestWhatACrashLeavesIsNoDamage keeps the checks from refusing a node that was only
// killed.
func TestWhatACrashLeavesIsNoDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string)
		last uint64
	}{
		{"nothing", func(*testing.T, string) {}, lastEntry},
		{"the batch that was being written is not whole", func(t *testing.T, dir string) {
			from, to := oneMoreBatch(t, dir)
			edit(t, tailOf(t, dir), zeroed(from+1000, to))
		}, lastEntry},
		{"its end is there and its beginning is not", func(t *testing.T, dir string) {
			from, to := oneMoreBatch(t, dir)
			edit(t, tailOf(t, dir), zeroed(from, to-1000))
		}, lastEntry},
		{"entries after the mark", func(t *testing.T, dir string) { oneMoreBatch(t, dir) }, lastEntry + 2},
		{"a snapshot was half written", func(t *testing.T, dir string) {
			must(t, os.MkdirAll(filepath.Join(dir, "snapshots", "2-900-1700000000000.tmp"), 0o700))
		}, lastEntry},
		{"stable.db was half made, before there was anything", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, reopened(t, dir).Close())
			must(t, os.Rename(filepath.Join(dir, "stable.db"), filepath.Join(dir, "stable.db.new")))
			edit(t, filepath.Join(dir, "stable.db.new"), cut(100))
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t)
			c.do(t, dir)
			s := reopened(t, dir)
			defer s.Close()
			last, err := s.Logs.LastIndex()
			if err != nil || last != c.last {
				t.Fatalf("the log ends at %d, %v; want %d", last, err, c.last)
			}
			must(t, s.Logs.StoreLogs(entries(last+1, 1, 3)))
		})
	}
}

// TestCrashBetweenSealAndRotation ends the process when the last segment is full and
// wal-meta.db does not say so yet. raft-wal itself refuses every entry after that.
func TestCrashBetweenSealAndRotation(t *testing.T) {
	dir := written(t)
	meta := filepath.Join(dir, "wal", metadb.FileName)
	last := untilRotated(t, dir, func() {
		b, err := os.ReadFile(meta)
		must(t, err)
		must(t, os.WriteFile(meta+".saved", b, 0o600))
	})
	must(t, os.Remove(tailOf(t, dir)))
	must(t, os.Rename(meta+".saved", meta))

	s := reopened(t, dir)
	defer s.Close()
	if got, err := s.Logs.LastIndex(); got != last || err != nil {
		t.Fatalf("the log ends at %d, %v; want %d", got, err, last)
	}
	must(t, s.Logs.StoreLogs(entries(last+1, 1, 3)))
	var l raft.Log
	must(t, s.Logs.GetLog(last, &l))
}

// TestSealThatWasTornOff: the batch that was to seal the segment is there but for its end, as
// after a power cut, or where the disk had no room for all of it.
func TestSealThatWasTornOff(t *testing.T) {
	dir := written(t)
	meta := filepath.Join(dir, "wal", metadb.FileName)
	sealed := ""
	last := untilRotated(t, dir, func() {
		b, err := os.ReadFile(meta)
		must(t, err)
		must(t, os.WriteFile(meta+".saved", b, 0o600))
		sealed = tailOf(t, dir)
	})
	must(t, os.Remove(tailOf(t, dir)))
	must(t, os.Rename(meta+".saved", meta))
	b, err := os.ReadFile(sealed)
	must(t, err)
	whole, _, err := wholeBatches(bytes.NewReader(b), int64(len(b)))
	if err != nil || whole.index == 0 {
		t.Fatalf("the segment is not sealed: %+v, %v", whole, err)
	}
	edit(t, sealed, zeroed(int(whole.end)-frameHeader, int(whole.end)))

	for range 2 { // what is written then is there at the next start
		s := reopened(t, dir)
		got, err := s.Logs.LastIndex()
		if got != last-1 || err != nil {
			t.Fatalf("the log ends at %d, %v; want %d", got, err, last-1)
		}
		must(t, errors.Join(s.Logs.StoreLogs(entries(last, 1, 3)), s.Close()))
		last++
	}
}

// TestSegmentThatIsMadeAndHasNoSize: the process ended between the two. It must get its
// full size, or the next start would take it for one that was cut short.
func TestSegmentThatIsMadeAndHasNoSize(t *testing.T) {
	dir := written(t)
	last := untilRotated(t, dir, func() {})
	edit(t, tailOf(t, dir), cut(0))
	s := reopened(t, dir)
	must(t, errors.Join(s.Logs.StoreLogs(entries(last+1, 1, 3)), s.Close()))
	must(t, reopened(t, dir).Close())
}

// untilRotated appends until a new segment is begun, and returns the last entry.
// before is called before each append.
func untilRotated(t *testing.T, dir string, before func()) uint64 {
	t.Helper()
	s := reopened(t, dir)
	last := uint64(lastEntry)
	for n := len(segments(t, dir)); len(segments(t, dir)) == n; last++ {
		before()
		must(t, s.Logs.StoreLogs(entries(last+1, 1, 3)))
		must(t, waitRotated(s, last+1))
	}
	must(t, s.Close())
	return last
}

// waitRotated makes raft-wal finish what it does in the background: a truncation
// waits for it, even one of entries that are not there.
func waitRotated(s *Stores, last uint64) error { return s.Logs.DeleteRange(last+1, last+1) }

func TestLogBehindTheSnapshotIsDropped(t *testing.T) {
	dir := written(t)
	s := reopened(t, dir)
	_, mem := raft.NewInmemTransport("")
	defer mem.Close()
	sink, err := s.Snapshots.Create(1, 100, 3, raft.Configuration{}, 1, mem)
	must(t, err)
	_, err = sink.Write([]byte("state"))
	must(t, errors.Join(err, sink.Close(), s.Close()))
	s = reopened(t, dir)
	defer s.Close()
	must(t, s.Logs.StoreLogs(entries(101, 1, 3)))
	if first, err := s.Logs.FirstIndex(); first != 101 || err != nil {
		t.Fatalf("the log begins at %d, %v", first, err)
	}
}

func TestUnreadableIsNoDamage(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	for _, name := range []string{"stable.db", filepath.Join("wal", metadb.FileName)} {
		dir := written(t)
		must(t, os.Chmod(filepath.Join(dir, name), 0))
		_, err := OpenStores(dir, zerolog.Nop())
		var d *DamageError
		if !errors.Is(err, fs.ErrPermission) || errors.As(err, &d) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s without permission: %v", name, err)
		}
	}
}
