package admin

import (
	"encoding/binary"
	"errors"

	"github.com/ushercluster/usher/fsm"
)

// Commands between agents are many and small, so they travel in a form of their own
// and not in JSON:
//
//	request, answer = { record }
//	record          = length(uvarint) fields
//	item's fields   = id(16) known(uvarint) kind token actor command    texts as length(uvarint) bytes
//	result's fields = flags(1) revision(uvarint) code message problem   problem is JSON
//
// A later version may add fields at the end of a record, which an older one ignores.
const wireType = "application/vnd.usher.commands"

// wired is a body in that form.
type wired interface {
	appendWire(b []byte) []byte
	readWire(b []byte) error // may keep parts of b
}

var (
	_ wired = (*applyRequest)(nil)
	_ wired = (*applyAnswer)(nil)
)

var errWire = errors.New("the commands are cut off or malformed")

const wireRepeated = 1 << 0

func (r *applyRequest) appendWire(b []byte) []byte {
	for i := range r.Items {
		it := &r.Items[i]
		b = appendRecord(b, func(b []byte) []byte {
			b = append(b, it.ID[:]...)
			b = binary.AppendUvarint(b, it.Known)
			b = appendText(b, it.Kind)
			b = appendText(b, it.Token)
			b = appendText(b, it.Actor)
			return appendText(b, it.Command)
		})
	}
	return b
}

func (r *applyRequest) readWire(b []byte) error {
	return readRecords(b, func(in *wireReader) {
		r.Items = append(r.Items, applyItem{
			ID: fsm.CommandID(in.take(len(fsm.CommandID{}))), Known: in.uvarint(),
			Kind: string(in.text()), Token: string(in.text()), Actor: string(in.text()), Command: in.text(),
		})
	})
}

func (a *applyAnswer) appendWire(b []byte) []byte {
	for i := range a.Items {
		it := &a.Items[i]
		b = appendRecord(b, func(b []byte) []byte {
			flags := byte(0)
			if it.Repeated {
				flags |= wireRepeated
			}
			b = append(b, flags)
			b = binary.AppendUvarint(b, it.Revision)
			b = appendText(b, it.Code)
			b = appendText(b, it.Message)
			return appendText(b, it.Problem.json())
		})
	}
	return b
}

func (a *applyAnswer) readWire(b []byte) error {
	return readRecords(b, func(in *wireReader) {
		it := applyResult{Repeated: in.take(1)[0]&wireRepeated != 0}
		it.Revision, it.Code, it.Message = in.uvarint(), fsm.Code(in.text()), string(in.text())
		if text := in.text(); len(text) > 0 {
			if it.Problem = problemIn(text); it.Problem == nil {
				in.bad = true
			}
		}
		a.Items = append(a.Items, it)
	})
}

// appendRecord puts the length before what fields appends.
func appendRecord(b []byte, fields func([]byte) []byte) []byte {
	const room = 4 // a uvarint of 28 bits, always written in full
	at := len(b)
	b = fields(append(b, 0, 0, 0, 0))
	n := len(b) - at - room
	for i := range room {
		b[at+i] = byte(n>>(7*i)) & 0x7f
		if i < room-1 {
			b[at+i] |= 0x80
		}
	}
	return b
}

func appendText[T ~string | ~[]byte](b []byte, text T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// readRecords gives each record to read; more of them than an entry holds are an error.
func readRecords(b []byte, read func(*wireReader)) error {
	in := wireReader{rest: b}
	for n := 0; len(in.rest) > 0; n++ {
		record := wireReader{rest: in.text()}
		if in.bad || n == fsm.MaxEntryItems {
			return errWire
		}
		if read(&record); record.bad {
			return errWire
		}
	}
	return nil
}

// wireReader reads until the first defect, and zeros from there on.
type wireReader struct {
	rest []byte
	bad  bool
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// take is the next n bytes.
func (r *wireReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	out := r.rest[:n:n]
	r.rest = r.rest[n:]
	return out
}

func (r *wireReader) text() []byte {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	return r.take(int(n))
}
