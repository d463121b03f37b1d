package fsm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The rows that can be many are ended occurrences (scheduler.history for each of
// MaxTasks tasks), audit rows (MaxAudit) and tokens (MaxTokens).

// rowsFor makes as many rows as asked for, by table: a tenth each of audit rows and
// tokens up to their bounds, the rest ended occurrences shared among tasks.
func rowsFor(rows int, put func(table string, row any)) {
	now := StampOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	tokens, audit := min(MaxTokens, rows/10), min(MaxAudit, rows/10)
	for i := range tokens {
		sum := sha256.Sum256(bigEndian(uint64(i)))
		put(tableTokens, &Token{Meta: Meta{1, 1}, ID: fmt.Sprintf("%016x", i), Name: fmt.Sprintf("token-%d", i), Hash: sum[:], Role: RoleViewer, By: "local:root", Born: now})
	}
	for i := range audit {
		put(tableAudit, &Audit{Revision: uint64(i + 1), At: now, Actor: "token:abcdefgh", Via: nodeID(1), Action: "setting.set", Target: "door.show_node", Detail: "true"})
	}
	perTask := max(100, (rows-tokens-audit)/MaxTasks+1)
	for i := range rows - tokens - audit {
		at, task := uint64(i+1), fmt.Sprintf("task-%05d", i/perTask)
		if i%perTask == 0 { // a task's own row, instead of an occurrence
			put(tableTasks, &Task{Meta: Meta{1, 2}, Name: task, Document: task, Every: time.Minute, Start: now, Attempts: 3, Timeout: time.Hour, CatchUp: time.Hour, By: "local:root"})
			continue
		}
		due := now.Add(time.Duration(i%perTask) * time.Minute)
		put(tableOccurrences, &Occurrence{
			Meta: Meta{at, at}, Task: task, Due: due, State: OccurrenceSucceeded, Attempt: 1, Fence: at, Node: nodeID(1), Engine: "builtin",
			Created: due, Claimed: due, Started: due, Renewed: due, Ended: due.Add(time.Second), Rows: 1234, Took: time.Second, Output: "1234 rows read",
		})
	}
}

func (f *FSM) fill(t testing.TB, rows int) {
	t.Helper()
	byName := map[string]*table{}
	for _, t := range tables() {
		byName[t.name] = &t
	}
	txn := f.db.Txn(true)
	rowsFor(rows, func(table string, row any) {
		if err := f.insert(txn, byName[table], row); err != nil {
			t.Fatal(err)
		}
	})
	txn.Commit()
}

// filled is a state of that many rows with a full memory of commands.
func filled(t testing.TB, rows int) *FSM {
	t.Helper()
	f := New(Options{})
	f.rev, f.now = uint64(max(rows, MemorySize)), StampOf(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC))
	f.fill(t, rows)
	for i := range MemorySize {
		var id CommandID
		copy(id[:], fmt.Sprintf("%016d", i))
		f.mem.ids = append(f.mem.ids, id)
	}
	f.mem.reindex(f.rev)
	f.publish()
	return f
}

// floor is how long this machine takes at this moment for what cannot be saved: to
// put the rows into tables, and to sum the bytes.
func floor(t testing.TB, rows int, snapshot []byte) time.Duration {
	t.Helper()
	began := time.Now()
	New(Options{}).fill(t, rows)
	sha256.Sum256(snapshot)
	return time.Since(began)
}

func TestRestoreOfManyRows(t *testing.T) {
	const rows = 100_000
	f := filled(t, rows)
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := s.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	g := New(Options{})
	least := floor(t, rows, buf.Bytes())
	runtime.GC()
	began := time.Now()
	if err := g.Restore(bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("%d rows, %d bytes: restored in %v, at least %v", rows, buf.Len(), took, least)
	// A machine that is busy with something else is slow at both.
	if took > time.Second && took > 10*least {
		t.Errorf("restored in %v; this machine can do it in %v", took, least)
	}
	if g.View().Hash() != f.View().Hash() || g.log.size() != f.log.size() || len(g.mem.index) != MemorySize {
		t.Errorf("the restored state differs: %d audit rows and %d commands, want %d and %d", g.log.size(), len(g.mem.index), f.log.size(), MemorySize)
	}
}

// TestRestoredRowsAreTheirOwn holds that rows share no memory with the reader: one
// that is read later would change them.
func TestRestoredRowsAreTheirOwn(t *testing.T) {
	f := filled(t, 1000)
	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if _, err := s.WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	g := New(Options{})
	if err := g.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.View().Tokens(), g.View().Tokens()); diff != "" {
		t.Error(diff)
	}
}

// door lets writes through when it is opened.
type door struct {
	io.Writer
	reached chan struct{} // closed at the first write
	open    chan struct{}
}

func (d *door) Write(b []byte) (int, error) {
	select {
	case <-d.reached:
	default:
		close(d.reached)
	}
	<-d.open
	return d.Writer.Write(b)
}

// TestSnapshotBesideWrites stops a snapshot in the middle and goes on writing; what
// it writes in the end is the state at its beginning.
func TestSnapshotBesideWrites(t *testing.T) {
	r := newReplica(t)
	r.f = filled(t, 20_000)
	r.next = 1 << 40
	before := r.f.View()
	s, err := r.f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	d := &door{Writer: &buf, reached: make(chan struct{}), open: make(chan struct{})}
	done := make(chan error, 1)
	go func() {
		_, err := s.WriteTo(d)
		done <- err
	}()
	<-d.reached
	for i := range 300 {
		r.must(&SetSetting{Key: "scheduler.history", Value: strconv.Itoa(i%100 + 1)})
	}
	task := r.f.View().Tasks()[0].Name
	r.must(&RemoveTask{Name: task})
	close(d.open)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g := New(Options{})
	if err := g.Restore(&buf); err != nil {
		t.Fatal(err)
	}
	if v := g.View(); v.Revision() != before.Revision() || v.Hash() != before.Hash() {
		t.Errorf("revision %d, want the snapshot's %d, or the rows differ", v.Revision(), before.Revision())
	}
}

// TestSnapshotTakesNoTime holds that writes wait for a snapshot as long as it takes to
// copy the memory of commands, however many rows there are.
func TestSnapshotTakesNoTime(t *testing.T) {
	few, many := filled(t, 100), filled(t, 100_000)
	allocated := func(f *FSM) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, err := f.Snapshot()
		runtime.ReadMemStats(&after)
		if err != nil || s == nil {
			t.Fatal(err)
		}
		return after.TotalAlloc - before.TotalAlloc
	}
	if a, b := allocated(few), allocated(many); b > a+1<<20 {
		t.Errorf("a snapshot of 100 rows copies %d bytes, one of 100,000 rows %d", a, b)
	}
}

func BenchmarkSnapshot(b *testing.B) {
	f := filled(b, 100_000)
	for b.Loop() {
		if _, err := f.Snapshot(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPersist(b *testing.B) {
	s, err := filled(b, 100_000).Snapshot()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, rows := range []int{100_000, 1_000_000} {
		b.Run(strconv.Itoa(rows), func(b *testing.B) {
			s, err := filled(b, rows).Snapshot()
			if err != nil {
				b.Fatal(err)
			}
			var buf bytes.Buffer
			if _, err := s.WriteTo(&buf); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := New(Options{}).Restore(bytes.NewReader(buf.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

var (
	stateFile = flag.String("state-file", "", "snapshot for BenchmarkStateFile: made when it is not there, else restored")
	stateRows = flag.Int("state-rows", 1_000_000, "rows of it")
)

// Goals for a million rows.
const (
	restoreGoal = 8 * time.Second
	memoryGoal  = 1500 << 20
)

// BenchmarkStateFile is scripts/bench.sh state. The state is made by one process and
// restored by another, so that the second one's memory is that of a restore.
func BenchmarkStateFile(b *testing.B) {
	switch _, err := os.Stat(*stateFile); {
	case *stateFile == "":
		b.Skip("no -state-file")
	case errors.Is(err, os.ErrNotExist):
		writeStateFile(b)
	case err != nil:
		b.Fatal(err)
	default:
		readStateFile(b)
	}
}

func writeStateFile(b *testing.B) {
	f := filled(b, *stateRows)
	out, err := os.Create(*stateFile)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	s, err := f.Snapshot()
	held := time.Since(began)
	if err != nil {
		b.Fatal(err)
	}
	n, err := s.WriteTo(out)
	if err := errors.Join(err, out.Close()); err != nil {
		b.Fatal(err)
	}
	fmt.Printf("%d rows: writes waited %.1f ms for the snapshot; %d MiB written in %.2f s beside them\n",
		*stateRows, float64(held.Microseconds())/1000, n>>20, time.Since(began).Seconds())
}

func readStateFile(b *testing.B) {
	in, err := os.Open(*stateFile)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	f := New(Options{})
	began := time.Now()
	if err := f.Restore(in); err != nil {
		b.Fatal(err)
	}
	took, peak := time.Since(began), peakMemory(b)
	rows := 0
	for _, t := range tables() {
		for range f.View().rows(t) {
			rows++
		}
	}
	fmt.Printf("%d rows: restored in %.2f s (goal %v), at most %d MiB of memory (goal %d)\n", rows, took.Seconds(), restoreGoal, peak>>20, memoryGoal>>20)
	if rows != *stateRows || took > restoreGoal || peak > memoryGoal {
		b.Error("a goal is missed")
	}
}

// peakMemory is the most that was resident, proc_pid_status(5), or what Go took from
// the system where there is no such file.
func peakMemory(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.Sys)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return kib << 10
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}
