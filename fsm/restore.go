package fsm

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/hashicorp/go-memdb"
	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/ushercluster/usher/agent/peer"
)

// Restore replaces the state by a snapshot. A damaged one changes nothing.
func (f *FSM) Restore(r io.Reader) error {
	next, err := read(r)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.db, f.mem, f.rev, f.now = next.db, next.mem, next.rev, next.now
	f.log, f.last = next.log, next.last
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
	in := &rowReader{
		r: bufio.NewReaderSize(src, 64<<10), sum: sha256.New(),
		dec: codec.NewDecoderBytes([]byte{0}, msgpack), known: shared{},
	}
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
	f.last = allTouched(f.rev)
	return f, nil
}

// readRows inserts all rows in one transaction: the trees are built in place, not
// copied for each row.
func (f *FSM) readRows(in *rowReader) error {
	var byNumber [256]*table
	for _, t := range tables() {
		byNumber[t.number] = &t
	}
	txn := f.db.Txn(true)
	defer txn.Commit()
	for {
		number := in.number()
		if in.err != nil {
			return fmt.Errorf("read snapshot: %w: %w", ErrSnapshot, in.err)
		}
		if number == 0 {
			return nil
		}
		t := byNumber[number]
		if t == nil {
			return fmt.Errorf("read snapshot: table %d is unknown: upgrade usher: %w", number, ErrSnapshot)
		}
		row, err := in.row(t)
		if err == nil {
			err = f.insert(txn, t, row)
		}
		if err != nil {
			return fmt.Errorf("read snapshot: %s: %w: %w", t.name, ErrSnapshot, err)
		}
	}
}

// insert puts a row that was read into its table.
func (f *FSM) insert(txn *memdb.Txn, t *table, row any) error {
	a, ok := row.(*Audit)
	if !ok {
		return txn.Insert(t.name, row)
	}
	if a.Revision <= f.log.last() {
		return fmt.Errorf("revision %d stands behind %d", a.Revision, f.log.last())
	}
	f.log = f.log.add(a)
	return nil
}

// rowReader reads until the first error, sums what it read, and never allocates
// more than the input can fill.
type rowReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	err   error
	buf   []byte // of the last read
	dec   *codec.Decoder
	known shared
}

// row reads a row of a table.
func (r *rowReader) row(t *table) (any, error) {
	row, b := t.make(), r.bytes(r.length())
	if r.err != nil {
		return nil, r.err
	}
	if err := unpackWith(r.dec, b, row); err != nil {
		return nil, err
	}
	r.known.share(row)
	return row, nil
}

// bytes are the next n, valid until the next call.
func (r *rowReader) bytes(n int) []byte {
	if r.err == nil && (n < 0 || n > maxRowBytes) {
		r.err = ErrSnapshot
	}
	if r.err != nil {
		return nil
	}
	if cap(r.buf) < n {
		r.buf = make([]byte, max(n, 1<<10))
	}
	b := r.buf[:n]
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

func (r *rowReader) number() byte {
	b, _ := r.ReadByte() // the error stays in r
	return b
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

// shared holds one copy of each text that many rows have in common.
type shared map[string]string

// maxShared bounds the copies; what comes later keeps its own.
const maxShared = 1 << 16

// share lets the tables that can be long use common copies.
func (s shared) share(row any) {
	switch r := row.(type) {
	case *Occurrence:
		use(s, &r.Task, &r.Engine)
		use(s, &r.State)
		use(s, &r.Node)
	case *Audit:
		use(s, &r.Actor, &r.Action, &r.Target, &r.Detail)
		use(s, &r.Via)
		use(s, &r.Code)
	case *Token:
		use(s, &r.By)
		use(s, &r.Role)
	}
}

func use[T string | OccurrenceState | peer.ID | Code | Role](s shared, texts ...*T) {
	for _, t := range texts {
		if *t == "" {
			continue
		}
		one, ok := s[string(*t)]
		if !ok && len(s) < maxShared {
			one = string(*t)
			s[one] = one
		}
		if one != "" {
			*t = T(one)
		}
	}
}
