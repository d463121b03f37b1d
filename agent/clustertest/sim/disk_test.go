package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	boltdb "github.com/hashicorp/raft-boltdb/v2"
)

// disk is one machine's, in memory: Raft's log, its term and vote, its snapshots. A write
// is seen when it is durable, as with the real stores, which sync before they return.
// What was under way when the power went is there or is not, each write as a whole.
type disk struct {
	mu      sync.Mutex
	rng     *rand.Rand
	seen    *content
	pending []*write
	takes   time.Duration // a write
	fails   bool          // the next write of the log
	// lazy makes a disk that lies: it says done at once, and writes a second later.
	lazy bool
	safe *content // of a lazy disk: what is durable
	tail []*write // and what is not

	// truncating is told what will be removed at the end of the log.
	truncating func(c *content, from, to uint64)
}

// write is a change that is under way.
type write struct {
	do func(*content)
	at time.Time
}

// content is what is on a disk.
type content struct {
	logs        map[uint64]*raft.Log
	first, last uint64
	stable      map[string][]byte
	snaps       []snapshot // the newest first
}

const (
	diskTakes = 2 * time.Millisecond
	lazyLag   = time.Second
	hangs     = 11 * time.Second // more than a node stands
)

func newDisk(rng *rand.Rand) *disk {
	return &disk{rng: rng, takes: diskTakes, seen: &content{logs: map[uint64]*raft.Log{}, stable: map[string][]byte{}}}
}

func (c *content) clone() *content {
	return &content{logs: maps.Clone(c.logs), first: c.first, last: c.last, stable: maps.Clone(c.stable), snaps: slices.Clone(c.snaps)}
}

// apply writes something: it is under way while the disk takes its time.
func (d *disk) apply(do func(*content)) {
	d.mu.Lock()
	w := &write{do: do, at: time.Now()}
	if d.lazy {
		d.flush()
		do(d.seen)
		d.tail = append(d.tail, w)
		d.mu.Unlock()
		return
	}
	d.pending = append(d.pending, w)
	takes := d.takes
	if takes < hangs {
		takes = time.Duration(min(0.5+d.rng.ExpFloat64(), 5) * float64(takes))
	}
	d.mu.Unlock()
	time.Sleep(takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	do(d.seen)
	d.pending = slices.DeleteFunc(d.pending, func(p *write) bool { return p == w })
}

// atOnce writes something in no time, for callers that hold a mutex meanwhile: the clock of
// a bubble stands still while somebody waits for one.
func (d *disk) atOnce(do func(*content)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lazy {
		d.flush()
		d.tail = append(d.tail, &write{do: do, at: time.Now()})
	}
	do(d.seen)
}

// flush makes durable what a lazy disk has had for long enough. The caller holds mu.
func (d *disk) flush() {
	if d.safe == nil {
		d.safe = d.seen.clone()
	}
	for len(d.tail) > 0 && time.Since(d.tail[0].at) > lazyLag {
		d.tail[0].do(d.safe)
		d.tail = d.tail[1:]
	}
}

// crash is the disk as the next start finds it. A process that was killed leaves what it
// has written to the kernel, a machine without power does not. The old disk lives on for
// what is left of the old process, and nobody else sees it.
func (d *disk) crash(power bool) (next *disk, torn int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next = newDisk(rand.New(rand.NewPCG(d.rng.Uint64(), d.rng.Uint64()))) // the old one may be in use still
	next.lazy, next.truncating = d.lazy, d.truncating
	next.seen = d.seen.clone()
	if d.lazy && power {
		d.flush()
		next.seen = d.safe.clone()
	}
	for _, w := range d.pending {
		if torn++; d.rng.IntN(2) == 0 {
			w.do(next.seen)
		}
	}
	return next, torn
}

// set changes how the disk behaves.
func (d *disk) set(takes time.Duration, fails bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takes, d.fails = takes, fails
}

// mend ends what would fail a write that has not come.
func (d *disk) mend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fails = false
}

func (d *disk) look(f func(*content)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d.seen)
}

// logStore is the disk's log. It refuses what raft-wal refuses.
type logStore struct{ d *disk }

var _ raft.MonotonicLogStore = logStore{}

func (logStore) IsMonotonic() bool { return true }

func (s logStore) FirstIndex() (i uint64, _ error) {
	s.d.look(func(c *content) { i = c.first })
	return i, nil
}

func (s logStore) LastIndex() (i uint64, _ error) {
	s.d.look(func(c *content) { i = c.last })
	return i, nil
}

func (s logStore) GetLog(i uint64, out *raft.Log) error {
	err := raft.ErrLogNotFound
	s.d.look(func(c *content) {
		if l := c.logs[i]; l != nil {
			*out, err = *l, nil
		}
	})
	return err
}

func (s logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

var errDisk = errors.New("input/output error")

func (s logStore) StoreLogs(ls []*raft.Log) error {
	if len(ls) == 0 {
		return nil
	}
	var last uint64
	var fails bool
	s.d.look(func(c *content) {
		last, fails = c.last, s.d.fails
		s.d.fails = false
	})
	if last != 0 && ls[0].Index != last+1 {
		return fmt.Errorf("entry %d after %d", ls[0].Index, last)
	}
	copies := make([]*raft.Log, len(ls))
	for i, l := range ls {
		one := *l
		copies[i] = &one
	}
	do := func(c *content) {
		for _, l := range copies {
			c.logs[l.Index] = l
		}
		if c.last == 0 {
			c.first = copies[0].Index
		}
		c.last = copies[len(copies)-1].Index
	}
	if fails {
		s.d.mu.Lock()
		defer s.d.mu.Unlock()
		if s.d.rng.IntN(2) == 0 { // it is on the disk all the same
			do(s.d.seen)
		}
		return errDisk
	}
	s.d.apply(do)
	return nil
}

func (s logStore) DeleteRange(from, to uint64) error {
	var first, last uint64
	s.d.look(func(c *content) { first, last = c.first, c.last })
	if from > first && to < last {
		return fmt.Errorf("entries %d to %d are in the middle of %d to %d", from, to, first, last)
	}
	if s.d.truncating != nil && to >= last && last != 0 {
		s.d.look(func(c *content) { s.d.truncating(c, from, to) })
	}
	s.d.atOnce(func(c *content) { c.remove(from, to) })
	return nil
}

func (c *content) remove(from, to uint64) {
	for i := max(from, c.first); i <= min(to, c.last); i++ {
		delete(c.logs, i)
	}
	switch {
	case from <= c.first && to >= c.last:
		c.first, c.last = 0, 0
	case from <= c.first:
		c.first = to + 1
	default:
		c.last = from - 1
	}
}

// stableStore is where the disk has term and vote.
type stableStore struct{ d *disk }

// errNotFound is known to Raft by its text.
var errNotFound = boltdb.ErrKeyNotFound

func (s stableStore) Set(k, v []byte) error {
	key, val := string(k), bytes.Clone(v)
	do := func(c *content) { c.stable[key] = val }
	if key == markKey {
		s.d.atOnce(do)
	} else {
		s.d.apply(do)
	}
	return nil
}

func (s stableStore) Get(k []byte) (v []byte, err error) {
	s.d.look(func(c *content) {
		var ok bool
		if v, ok = c.stable[string(k)]; !ok {
			err = errNotFound
		}
	})
	return v, err
}

func (s stableStore) SetUint64(k []byte, v uint64) error { return s.Set(k, number(v)) }

func (s stableStore) GetUint64(k []byte) (uint64, error) {
	v, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	return parse(v), nil
}

// snapshot is one on a disk.
type snapshot struct {
	meta raft.SnapshotMeta
	data []byte
}

const keepSnapshots = 2

// snapStore is the disk's snapshots.
type snapStore struct{ d *disk }

func (s snapStore) Create(v raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{d: s.d, meta: raft.SnapshotMeta{
		Version: v, ID: fmt.Sprintf("%d-%d-%d", term, index, time.Now().UnixNano()), Index: index, Term: term,
		Configuration: conf.Clone(), ConfigurationIndex: confIndex,
	}}, nil
}

func (s snapStore) List() (out []*raft.SnapshotMeta, _ error) {
	s.d.look(func(c *content) {
		for _, snap := range c.snaps {
			meta := snap.meta
			out = append(out, &meta)
		}
	})
	return out, nil
}

func (s snapStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	var found *snapshot
	s.d.look(func(c *content) {
		for _, snap := range c.snaps {
			if snap.meta.ID == id {
				found = &snap
			}
		}
	})
	if found == nil {
		return nil, nil, fmt.Errorf("there is no snapshot %s", id)
	}
	return &found.meta, io.NopCloser(bytes.NewReader(found.data)), nil
}

// sink takes a snapshot that is being written.
type sink struct {
	d    *disk
	meta raft.SnapshotMeta
	buf  bytes.Buffer
	over bool
}

func (s *sink) ID() string                  { return s.meta.ID }
func (s *sink) Write(p []byte) (int, error) { return s.buf.Write(p) }

func (s *sink) Cancel() error {
	s.over = true
	return nil
}

func (s *sink) Close() error {
	if s.over {
		return nil
	}
	s.over = true
	s.meta.Size = int64(s.buf.Len())
	snap := snapshot{s.meta, s.buf.Bytes()}
	s.d.apply(func(c *content) {
		c.snaps = append(c.snaps, snap)
		slices.SortStableFunc(c.snaps, func(a, b snapshot) int {
			return -(2*cmpUint(a.meta.Term, b.meta.Term) + cmpUint(a.meta.Index, b.meta.Index))
		})
		c.snaps = c.snaps[:min(len(c.snaps), keepSnapshots)]
	})
	return nil
}

func cmpUint(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// markKey is where a store notes an entry that was durably in its log.
const markKey = "usher/log-end"

// broken says what a node would refuse to start with: a log that ends before the mark, or
// has another entry there, or does not reach its snapshot. "" is a good disk.
func (c *content) broken() string {
	var snap raft.SnapshotMeta
	if len(c.snaps) > 0 {
		snap = c.snaps[0].meta
	}
	if c.last != 0 && c.first > snap.Index+1 {
		return fmt.Sprintf("the log begins at %d, the snapshot ends at %d", c.first, snap.Index)
	}
	for i := c.first; i <= c.last && c.last != 0; i++ {
		if c.logs[i] == nil || c.logs[i].Index != i {
			return fmt.Sprintf("the log lacks entry %d of %d to %d", i, c.first, c.last)
		}
	}
	mark := c.stable[markKey]
	if len(mark) != 16 {
		return ""
	}
	index, term := parse(mark), parse(mark[8:])
	if index > max(c.last, snap.Index) {
		return fmt.Sprintf("the mark is at %d, the log ends at %d and the snapshot at %d", index, c.last, snap.Index)
	}
	if l := c.logs[index]; l != nil && term != 0 && l.Term != term {
		return fmt.Sprintf("the mark is at %d in term %d, the log has term %d there", index, term, l.Term)
	}
	return ""
}

func entries(from, to, term uint64) (out []*raft.Log) {
	for i := from; i <= to; i++ {
		out = append(out, &raft.Log{Index: i, Term: term})
	}
	return out
}

func lastOf(t *testing.T, d *disk) uint64 {
	t.Helper()
	last, err := logStore{d}.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	return last
}

func TestDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(rand.New(rand.NewPCG(1, 1)))
		if err := (logStore{d}).StoreLogs(entries(1, 10, 1)); err != nil {
			t.Fatal(err)
		}
		kept, lost := 0, 0
		for range 20 {
			one, _ := d.crash(true)
			if last := lastOf(t, one); last != 10 {
				t.Fatalf("what was written is gone: the log ends at %d", last)
			}
			done := make(chan error, 1)
			go func() { done <- logStore{one}.StoreLogs(entries(11, 12, 1)) }()
			synctest.Wait()
			if last := lastOf(t, one); last != 10 {
				t.Fatalf("a write that is under way is seen: the log ends at %d", last)
			}
			two, torn := one.crash(true)
			switch last := lastOf(t, two); {
			case torn != 1:
				t.Fatalf("%d writes were under way", torn)
			case last == 12:
				kept++
			case last == 10:
				lost++
			default:
				t.Fatalf("half a write: the log ends at %d", last)
			}
			if err := <-done; err != nil || lastOf(t, one) != 12 {
				t.Fatalf("the old process cannot go on: %v", err)
			}
		}
		if kept == 0 || lost == 0 {
			t.Errorf("of writes that were under way %d were kept and %d lost", kept, lost)
		}
	})
}

func TestLazyDiskForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(rand.New(rand.NewPCG(1, 1)))
		d.lazy = true
		for i := range uint64(2) {
			if err := (logStore{d}).StoreLogs(entries(1+10*i, 10+10*i, 1)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(lazyLag * 2 / 3)
		}
		kill, _ := d.crash(false)
		power, _ := d.crash(true)
		if k, p := lastOf(t, kill), lastOf(t, power); k != 20 || p != 10 {
			t.Errorf("after a kill the log ends at %d, without power at %d", k, p)
		}
	})
}

func TestBrokenDisk(t *testing.T) {
	good := func() *content {
		c := newDisk(nil).seen
		for _, l := range entries(1, 10, 2) {
			c.logs[l.Index] = l
		}
		c.first, c.last = 1, 10
		c.stable[markKey] = append(number(10), number(2)...)
		return c
	}
	for name, harm := range map[string]func(*content){
		"end lost":      func(c *content) { c.remove(9, 10) },
		"another term":  func(c *content) { c.logs[10].Term = 1 },
		"a hole":        func(c *content) { delete(c.logs, 5) },
		"begins late":   func(c *content) { c.remove(1, 3) },
		"nothing at al": func(c *content) { c.remove(1, 10) },
	} {
		c := good()
		if why := c.broken(); why != "" {
			t.Fatalf("a good disk is broken: %s", why)
		}
		if harm(c); c.broken() == "" {
			t.Errorf("%s: the disk is not broken", name)
		}
	}
}
