package fsm

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/go-msgpack/v2/codec"
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

// View is the state in the snapshot.
func (s *Snapshot) View() View { return s.view }

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
	w := newRowWriter(io.MultiWriter(buf, sum))
	w.bytes([]byte(snapshotMagic))
	w.bytes([]byte{snapshotVersion})
	w.bytes(bigEndian(v.rev))
	w.bytes(bigEndian(uint64(v.now)))
	for _, t := range tables() {
		if !want(t) {
			continue
		}
		for row := range v.rows(t) {
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
	enc *codec.Encoder
	buf []byte // of the last row
}

func newRowWriter(w io.Writer) *rowWriter {
	return &rowWriter{w: w, enc: codec.NewEncoder(nil, msgpack)}
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
	w.enc.ResetBytes(&w.buf)
	if err := w.enc.Encode(row); err != nil && w.err == nil {
		w.err = err
	}
	var head [1 + binary.MaxVarintLen64]byte
	head[0] = number
	w.bytes(head[:1+binary.PutUvarint(head[1:], uint64(len(w.buf)))])
	w.bytes(w.buf)
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
