package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errMalformed is the root of every error about bytes from other nodes.
var errMalformed = errors.New("malformed")

// decoder reads a message from the front of b. The first error sticks, and what
// is read after it is zero.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(field string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", errMalformed, field)
	}
	d.b = nil
}

// take reads n bytes.
func (d *decoder) take(field string, n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.fail(field)
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte(field string) byte {
	if b := d.take(field, 1); b != nil {
		return b[0]
	}
	return 0
}

// uint reads a varint that is at most limit.
func (d *decoder) uint(field string, limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	if d.err != nil || n <= 0 || v > limit {
		d.fail(field)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// int reads a zigzag varint between lowest and highest.
func (d *decoder) int(field string, lowest, highest int64) int {
	v, n := binary.Varint(d.b)
	if d.err != nil || n <= 0 || v < lowest || v > highest {
		d.fail(field)
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

// string reads a length and as many bytes, at most limit.
func (d *decoder) string(field string, limit int) string {
	n := d.uint(field, uint64(limit))
	return string(d.take(field, int(n)))
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
