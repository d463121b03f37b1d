package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// A snapshot is
//
//	"USHERST" version(1) revision(8) now(8) { table(1) length(uvarint) row } 0 memory sum(32)
//
// where rows stand in the order of tables and keys, memory is the remembered
// commands, and sum is the SHA-256 of everything before it. state.cache has the
// same form with some of the tables and an empty memory.
const (
	snapshotMagic   = "USHERST"
	snapshotVersion = 1
	maxRowBytes     = 1 << 20
)

// ErrSnapshot means that a snapshot or cache is damaged or no snapshot at all.
var ErrSnapshot = errors.New("damaged state snapshot")

// Snapshot is the state at one revision together with the memory of commands.
type Snapshot struct {
	view View
	mem  *memory
}

// Snapshot copies what is needed to write the state out while commands go on.
func (f *FSM) Snapshot() (*Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.halt != nil {
		return nil, f.halt
	}
	return &Snapshot{view: f.View(), mem: f.mem.clone()}, nil
}

// Revision is the snapshot's revision.
func (s *Snapshot) Revision() uint64 { return s.view.rev }

// WriteTo writes the snapshot.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	return write(w, s.view, s.mem, func(table) bool { return true })
}

// WriteCache writes the part of the state that doors, handshakes and address
// look-ups need before there is a leader.
func (v View) WriteCache(w io.Writer) error {
	_, err := write(w, v, &memory{chain: v.chain}, func(t table) bool { return t.cached })
	return err
}

func write(dst io.Writer, v View, mem *memory, want func(table) bool) (int64, error) {
	sum := sha256.New()
	buf := bufio.NewWriterSize(dst, 64<<10)
	w := &rowWriter{w: io.MultiWriter(buf, sum)}
	w.bytes([]byte(snapshotMagic))
	w.bytes([]byte{snapshotVersion})
	w.bytes(bigEndian(v.rev))
	w.bytes(bigEndian(uint64(v.now)))
	for _, t := range tables() {
		if !want(t) {
			continue
		}
		for row := range each[any](v.txn, t.name) {
			w.row(t.number, row)
		}
	}
	w.bytes([]byte{0})
	w.memory(mem)
	if w.err == nil {
		_, w.err = buf.Write(sum.Sum(nil))
	}
	if w.err == nil {
		w.err = buf.Flush()
	}
	if w.err != nil {
		return w.n, fmt.Errorf("write snapshot: %w", w.err)
	}
	return w.n + sha256.Size, nil
}

// rowWriter writes until the first error and remembers it.
type rowWriter struct {
	w   io.Writer
	n   int64
	err error
}

func (w *rowWriter) bytes(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.n += int64(n)
	w.err = err
}

func (w *rowWriter) row(number byte, row any) {
	b, err := pack(row)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.bytes(binary.AppendUvarint([]byte{number}, uint64(len(b))))
	w.bytes(b)
}

func (w *rowWriter) memory(m *memory) {
	w.bytes(m.chain[:])
	w.bytes(binary.AppendUvarint(nil, uint64(len(m.ids))))
	for i := range m.ids {
		w.bytes(m.ids[i][:])
	}
	w.bytes(binary.AppendUvarint(nil, uint64(len(m.refused))))
	for _, rev := range sortedKeys(m.refused) {
		o := m.refused[rev]
		b := binary.AppendUvarint(nil, rev)
		b = appendBytes(b, []byte(o.Code))
		w.bytes(appendBytes(b, []byte(o.Message)))
	}
}

// Restore replaces the state by a snapshot. A damaged one changes nothing.
func (f *FSM) Restore(r io.Reader) error {
	next, err := read(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.db, f.mem, f.rev, f.now = next.db, next.mem, next.rev, next.now
	f.size = next.size
	f.publish()
	return nil
}

// ReadCache reads what WriteCache wrote. The view is labelled as cached.
func ReadCache(r io.Reader) (View, error) {
	f, err := read(r)
	if err != nil {
		return View{}, err
	}
	f.publish()
	v := f.View()
	v.cached = true
	return v, nil
}

func read(src io.Reader) (*FSM, error) {
	in := &rowReader{r: bufio.NewReaderSize(src, 64<<10), sum: sha256.New()}
	head := in.bytes(len(snapshotMagic) + 1 + 8 + 8)
	if in.err != nil || !bytes.HasPrefix(head, []byte(snapshotMagic)) {
		return nil, fmt.Errorf("read snapshot: no usher state: %w", ErrSnapshot)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("read snapshot: version %d is newer than this usher knows: upgrade it: %w", v, ErrSnapshot)
	}
	f := New(Options{})
	f.rev = binary.BigEndian.Uint64(head[len(snapshotMagic)+1:])
	f.now = Stamp(binary.BigEndian.Uint64(head[len(snapshotMagic)+9:]))
	if err := f.readRows(in); err != nil {
		return nil, err
	}
	f.mem = in.memory()
	want := in.sum.Sum(nil)
	if got := in.bytes(sha256.Size); in.err != nil || !bytes.Equal(got, want) {
		return nil, fmt.Errorf("read snapshot: cut off or check sum wrong: %w", ErrSnapshot)
	}
	if n := uint64(len(f.mem.ids)); n != 0 && n != min(f.rev, MemorySize) {
		return nil, fmt.Errorf("read snapshot: %d remembered commands at revision %d: %w", n, f.rev, ErrSnapshot)
	}
	f.mem.reindex(f.rev)
	return f, nil
}

func (f *FSM) readRows(in *rowReader) error {
	byNumber := map[byte]table{}
	for _, t := range tables() {
		byNumber[t.number] = t
	}
	txn := f.db.Txn(true)
	defer txn.Commit()
	for {
		number := in.bytes(1)
		if in.err != nil {
			return fmt.Errorf("read snapshot: %w: %w", ErrSnapshot, in.err)
		}
		if number[0] == 0 {
			return nil
		}
		t, ok := byNumber[number[0]]
		if !ok {
			return fmt.Errorf("read snapshot: table %d is unknown: upgrade usher: %w", number[0], ErrSnapshot)
		}
		row := t.make()
		if err := unpack(in.bytes(in.length()), row); err != nil {
			return fmt.Errorf("read snapshot: %s: %w: %w", t.name, ErrSnapshot, err)
		}
		if err := txn.Insert(t.name, row); err != nil {
			return fmt.Errorf("read snapshot: %s: %w: %w", t.name, ErrSnapshot, err)
		}
		if t.name == tableAudit {
			f.size++
		}
	}
}

// rowReader reads until the first error, sums what it read, and never allocates
// more than the input can fill.
type rowReader struct {
	r   *bufio.Reader
	sum hash.Hash
	err error
}

func (r *rowReader) bytes(n int) []byte {
	if r.err == nil && (n < 0 || n > maxRowBytes) {
		r.err = ErrSnapshot
	}
	if r.err != nil {
		return nil
	}
	b := make([]byte, n)
	_, r.err = io.ReadFull(r.r, b)
	r.sum.Write(b)
	return b
}

// ReadByte implements io.ByteReader for uvarints.
func (r *rowReader) ReadByte() (byte, error) {
	b := r.bytes(1)
	if r.err != nil {
		return 0, r.err
	}
	return b[0], nil
}

func (r *rowReader) uvarint() uint64 {
	v, err := binary.ReadUvarint(r)
	if err != nil && r.err == nil {
		r.err = err
	}
	return v
}

func (r *rowReader) length() int {
	v := r.uvarint()
	if v > maxRowBytes {
		r.err = ErrSnapshot
		return 0
	}
	return int(v)
}

func (r *rowReader) memory() *memory {
	m := newMemory()
	copy(m.chain[:], r.bytes(len(m.chain)))
	n := r.uvarint()
	if n > MemorySize {
		r.err = ErrSnapshot
	}
	for range n {
		var id CommandID
		copy(id[:], r.bytes(len(id)))
		if r.err != nil {
			return newMemory()
		}
		m.ids = append(m.ids, id)
	}
	for range r.uvarint() {
		rev := r.uvarint()
		o := outcome{Code(r.bytes(r.length())), string(r.bytes(r.length()))}
		if r.err != nil {
			return newMemory()
		}
		m.refused[rev] = o
	}
	return m
}
