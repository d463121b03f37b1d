package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/go-msgpack/v2/codec"

	"github.com/ushercluster/usher/agent/peer"
)

// A command is encoded as
//
//	version(1) kind(2, big endian) body(MessagePack array of the fields, in order)
//
// and a Raft entry packs commands that share one time stamp:
//
//	version(1) stamp(8) count(uvarint) { id(16) known(uvarint) actor(bytes) command(bytes) }
//
// where bytes are preceded by their length as a uvarint.
const (
	codecVersion = 1
	entryVersion = 1
)

// ErrUnknownKind means that a command is newer than this binary. A node that meets
// one in its log stops; it never skips it.
var ErrUnknownKind = errors.New("the log holds a command that this version of usher does not know: upgrade usher on this node")

// ErrMalformed means that bytes are not what an encoder of this package made.
var ErrMalformed = errors.New("malformed encoding")

// Encode writes a command. It fails for one that is over MaxCommandBytes.
func Encode(c Command) ([]byte, error) {
	b := []byte{codecVersion}
	b = binary.BigEndian.AppendUint16(b, uint16(c.kind()))
	body, err := pack(c)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.kind(), err)
	}
	if len(body) > MaxCommandBytes {
		return nil, refuse(CodeLimit, "%s: %d bytes, a command has at most %d", c.kind(), len(body), MaxCommandBytes)
	}
	return append(b, body...), nil
}

// Decode reads what Encode wrote.
func Decode(b []byte) (Command, error) {
	if len(b) < 3 || b[0] != codecVersion {
		return nil, fmt.Errorf("decode command: %w", ErrMalformed)
	}
	kind := Kind(binary.BigEndian.Uint16(b[1:]))
	i, ok := registry[kind]
	if !ok {
		return nil, fmt.Errorf("kind %d: %w", kind, ErrUnknownKind)
	}
	c := i.make()
	if err := unpack(b[3:], c); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return c, nil
}

// Entry is what one Raft log entry holds.
type Entry struct {
	Now   Stamp
	Items []Item
}

// Item is one command of an entry, still encoded.
type Item struct {
	ID      CommandID
	Known   uint64
	Actor   Actor
	Command []byte
}

// EncodeEntry writes an entry.
func EncodeEntry(e Entry) ([]byte, error) {
	b := []byte{entryVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(e.Now))
	b = binary.AppendUvarint(b, uint64(len(e.Items)))
	for _, it := range e.Items {
		b = append(b, it.ID[:]...)
		b = binary.AppendUvarint(b, it.Known)
		b = appendBytes(b, encodeActor(it.Actor))
		b = appendBytes(b, it.Command)
	}
	if len(b) > MaxEntryBytes+MaxCommandBytes {
		return nil, fmt.Errorf("encode entry: %d bytes are too many", len(b))
	}
	return b, nil
}

// DecodeEntry reads what EncodeEntry wrote. The items' commands share b's memory.
func DecodeEntry(b []byte) (Entry, error) {
	if len(b) < 10 || b[0] != entryVersion {
		return Entry{}, fmt.Errorf("decode entry: %w", ErrMalformed)
	}
	r := reader{b: b[9:]}
	e := Entry{Now: Stamp(binary.BigEndian.Uint64(b[1:]))}
	n := r.uvarint()
	if n > MaxEntryItems {
		return Entry{}, fmt.Errorf("decode entry: %d items: %w", n, ErrMalformed)
	}
	for range n {
		var it Item
		copy(it.ID[:], r.take(len(it.ID)))
		it.Known = r.uvarint()
		it.Actor = r.actor()
		it.Command = r.bytes()
		e.Items = append(e.Items, it)
	}
	if r.bad || len(r.b) != 0 {
		return Entry{}, fmt.Errorf("decode entry: %w", ErrMalformed)
	}
	return e, nil
}

func encodeActor(a Actor) []byte {
	b := []byte{byte(a.Kind)}
	b = appendBytes(b, []byte(a.ID))
	return appendBytes(b, []byte(a.Via))
}

func appendBytes(b, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// reader reads in order and remembers whether anything was missing.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	return r.take(int(n))
}

func (r *reader) actor() Actor {
	in := reader{b: r.bytes()}
	kind := in.take(1)
	a := Actor{ID: string(in.bytes()), Via: peer.ID(in.bytes())}
	if in.bad || len(in.b) != 0 || len(kind) != 1 {
		r.bad = true
		return Actor{}
	}
	a.Kind = ActorKind(kind[0])
	return a
}

// handle encodes structs as arrays in field order, bytes and text told apart.
func handle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{WriteExt: true}
	h.StructToArray = true
	h.RawToString = false
	h.MaxInitLen = 1024
	return h
}

func pack(v any) ([]byte, error) {
	var b []byte
	err := codec.NewEncoderBytes(&b, msgpack).Encode(v)
	return b, err
}

// unpack fails on malformed input.
func unpack(b []byte, v any) error { return unpackWith(codec.NewDecoderBytes(b, msgpack), b, v) }

// unpackWith is unpack with a decoder that is used again; v shares nothing with b. The
// library reports some malformed input by panics.
func unpackWith(d *codec.Decoder, b []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s", ErrMalformed, strings.TrimSpace(fmt.Sprint(p)))
		}
	}()
	if len(b) == 0 {
		return fmt.Errorf("%w: nothing", ErrMalformed) // a reset to nothing would leave what was read before
	}
	d.ResetBytes(b)
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if d.NumBytesRead() != len(b) {
		return fmt.Errorf("%w: %d bytes too many", ErrMalformed, len(b)-d.NumBytesRead())
	}
	return nil
}

var msgpack = handle()
