package tunnel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
)

// frame makes a frame as a client (masked) or a server sends it.
func frame(masked bool, first byte, payload []byte) []byte {
	mask := byte(0)
	if masked {
		mask = maskBit
	}
	b := []byte{first}
	switch n := len(payload); {
	case n <= maxControl:
		b = append(b, mask|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if !masked {
		return append(b, payload...)
	}
	key := []byte{1, 2, 3, 4}
	b = append(b, key...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

// scanAll feeds b in pieces and returns the opcodes and lengths of whole frames.
func scanAll(b []byte, masked bool, piece int) (frames []uint64, boundary bool, err error) {
	var s frameScanner
	for len(b) > 0 {
		p := b[:min(piece, len(b))]
		b = b[len(p):]
		for len(p) > 0 || s.due() {
			n, ev, err := s.scan(p, masked)
			if err != nil {
				return frames, false, err
			}
			p = p[n:]
			if ev == headRead {
				frames = append(frames, uint64(s.opcode()), s.left)
			}
		}
	}
	return frames, s.atBoundary(), nil
}

func TestFrames(t *testing.T) {
	big, huge := make([]byte, 126), make([]byte, 70_000)
	for _, masked := range []bool{true, false} {
		f := func(first byte, payload []byte) []byte { return frame(masked, first, payload) }
		for _, tc := range []struct {
			name string
			in   []byte
			want []uint64
		}{
			{"empty text", f(0x81, nil), []uint64{1, 0}},
			{"text", f(0x81, []byte("hello")), []uint64{1, 5}},
			{"16 bit", f(0x82, big), []uint64{2, 126}},
			{"64 bit", f(0x82, huge), []uint64{2, 70_000}},
			{"fragments with a ping between", bytes.Join([][]byte{f(0x01, []byte("a")), f(0x89, []byte("p")), f(0x00, nil), f(0x80, []byte("b"))}, nil),
				[]uint64{1, 1, 9, 1, 0, 0, 0, 1}},
			{"compressed", f(0xc1, []byte("z")), []uint64{1, 1}},
			{"close", f(0x88, []byte{3, 232}), []uint64{8, 2}},
		} {
			for _, piece := range []int{1, 2, 3, 7, 1 << 20} {
				got, boundary, err := scanAll(tc.in, masked, piece)
				if d := cmp.Diff(tc.want, got); d != "" || err != nil || !boundary {
					t.Errorf("%s, masked %v, pieces of %d: %v, boundary %v, %s", tc.name, masked, piece, err, boundary, d)
				}
			}
		}
	}
}

func TestBadFrames(t *testing.T) {
	for _, tc := range []struct {
		name   string
		masked bool
		in     []byte
		reason string
	}{
		{"unmasked client", true, []byte{0x81, 0x00}, "mask bit is wrong for the direction"},
		{"masked server", false, []byte{0x81, 0x80}, "mask bit is wrong for the direction"},
		{"reserved data opcode", false, []byte{0x83}, "reserved opcode"},
		{"reserved control opcode", false, []byte{0x8b}, "reserved opcode"},
		{"fragmented control", false, []byte{0x09}, "control frame with fragments or reserved bits"},
		{"reserved bit on control", false, []byte{0xc9}, "control frame with fragments or reserved bits"},
		{"long control", false, []byte{0x89, 126}, "control frame is too long"},
		{"continuation of nothing", false, []byte{0x80}, "continuation of nothing"},
		{"message within a message", false, []byte{0x01, 0x00, 0x81}, "message within a message"},
		{"padded 16 bit", false, []byte{0x82, 126, 0, 125}, "length is not in its shortest form"},
		{"padded 64 bit", false, []byte{0x82, 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, "length is not in its shortest form"},
		{"64th bit", false, []byte{0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0}, "length has more than 63 bits"},
		{"http", false, []byte("HTTP/1.1 200 OK"), "reserved bit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, piece := range []int{1, 100} {
				_, _, err := scanAll(tc.in, tc.masked, piece)
				got, is := errors.AsType[*FrameError](err)
				if !is || tc.name != "http" && got.Reason != tc.reason {
					t.Errorf("%v, want %q", err, tc.reason)
				}
			}
		})
	}
}

func TestScannerIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(frameScanner{}); n > 16 {
		t.Errorf("%d bytes, want at most 16", n)
	}
}

func TestAppendFrame(t *testing.T) {
	if d := cmp.Diff([]byte{0x89, 2, 'h', 'i'}, appendFrame(nil, opPing, []byte("hi"), nil)); d != "" {
		t.Error(d)
	}
	got := appendFrame(nil, opClose, []byte{3, 0xe9}, &[4]byte{1, 2, 3, 4})
	if d := cmp.Diff([]byte{0x88, 0x82, 1, 2, 3, 4, 3 ^ 1, 0xe9 ^ 2}, got); d != "" {
		t.Error(d)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frame(true, 0x81, []byte("hello")), true)
	f.Add(frame(false, 0x82, make([]byte, 200)), false)
	f.Add([]byte{0x82, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, false)
	f.Fuzz(func(t *testing.T, b []byte, masked bool) {
		whole, boundary, err := scanAll(b, masked, 1<<20)
		bytewise, boundary1, err1 := scanAll(b, masked, 1)
		if (err == nil) != (err1 == nil) || boundary != boundary1 {
			t.Fatalf("whole: %v %v; byte by byte: %v %v", boundary, err, boundary1, err1)
		}
		if d := cmp.Diff(whole, bytewise); d != "" {
			t.Fatal(d)
		}
		if want, ok := simpleFrames(b, masked); (err == nil) != ok || ok && cmp.Diff(want, whole) != "" {
			t.Fatalf("scanner: %v, %v; simple reading: %v, %v", whole, err, want, ok)
		}
	})
}

// simpleFrames reads the frames of b in another way: all at once, header by header,
// as RFC 6455 5.2 lists the fields.
func simpleFrames(b []byte, masked bool) (frames []uint64, ok bool) {
	open := false
	for len(b) > 0 {
		op, fin, rsv := b[0]&15, b[0]>>7 == 1, b[0]>>4&7
		known := map[byte]bool{0: open, 1: !open, 2: !open, 8: true, 9: true, 10: true}
		if !known[op] || op >= 8 && (!fin || rsv != 0) {
			return nil, false
		}
		if op < 8 {
			open = !fin
		}
		if len(b) < 2 {
			return frames, true
		}
		if (b[1]>>7 == 1) != masked || op >= 8 && b[1]&127 > 125 {
			return nil, false
		}
		n, b2 := uint64(b[1]&127), b[2:]
		for short, size := range map[uint64]int{126: 2, 127: 8} {
			if uint64(b[1]&127) != short {
				continue
			}
			if len(b2) < size {
				return frames, true
			}
			var wide [8]byte
			copy(wide[8-size:], b2)
			n, b2 = binary.BigEndian.Uint64(wide[:]), b2[size:]
			if n < 126 || size == 8 && (n < 65536 || n >= 1<<63) {
				return nil, false
			}
		}
		if masked {
			if len(b2) < 4 {
				return frames, true
			}
			b2 = b2[4:]
		}
		frames = append(frames, uint64(op), n)
		if uint64(len(b2)) < n {
			return frames, true
		}
		b = b2[n:]
	}
	return frames, true
}
