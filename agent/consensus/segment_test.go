package consensus

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/hashicorp/raft-wal/types"
)

// aSegment builds a segment by its format: a header, then batches of entries.
func aSegment(info types.SegmentInfo, batches ...[]string) []byte {
	b := make([]byte, segmentHeader)
	for i, v := range []uint64{segmentMagic, info.BaseIndex, info.ID, info.Codec} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	begin := 0
	frame := func(kind byte, n uint32) {
		b = binary.LittleEndian.AppendUint32(append(b, kind, 0, 0, 0), n)
	}
	for _, batch := range batches {
		for _, e := range batch {
			frame(frameEntry, uint32(len(e)))
			b = append(b, e...)
			b = append(b, make([]byte, -len(e)&7)...)
		}
		frame(frameCommit, crc32.Checksum(b[begin:], crc32.MakeTable(crc32.Castagnoli)))
		begin = len(b)
	}
	return b
}

func TestScanSegment(t *testing.T) {
	info := types.SegmentInfo{BaseIndex: 5, ID: 2, Codec: 1}
	whole := aSegment(info, []string{"one", "two"}, []string{"three three"}, []string{"\x03\x00\x00\x00four"}, []string{"five"})
	padded := append(bytes.Clone(whole), make([]byte, 200<<10)...)
	flip := func(i int) []byte { b := bytes.Clone(padded); b[i] ^= 0x40; return b }
	for _, c := range []struct {
		name    string
		b       []byte
		info    types.SegmentInfo
		entries uint64
		bad     bool
	}{
		{"nothing", nil, info, 0, false},
		{"half a header", whole[:20], info, 0, false},
		{"no batch", whole[:segmentHeader], info, 0, false},
		{"all", whole, info, 5, false},
		{"all, preallocated", padded, info, 5, false},
		{"without the last commit", whole[:len(whole)-8], info, 4, false},
		{"half a commit", whole[:len(whole)-4], info, 4, false},
		{"another segment's", padded, types.SegmentInfo{BaseIndex: 6, ID: 2, Codec: 1}, 5, true},
		{"a flip in the last batch", flip(len(whole) - 12), info, 4, false},
		{"a flip in the second batch", flip(segmentHeader + 16 + 16 + 8 + 10), info, 2, true},
		{"a length in the first batch", flip(segmentHeader + 6), info, 0, true},
		{"the header", flip(9), info, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := scanSegment(bytes.NewReader(c.b), int64(len(c.b)), c.info)
			if (err != nil) != c.bad || s.entries != c.entries {
				t.Fatalf("%d entries, %v; want %d, bad %v", s.entries, err, c.entries, c.bad)
			}
		})
	}
}

// FuzzScanSegment: no input makes the scan fail in another way than by an error, and
// what it counts is there.
func FuzzScanSegment(f *testing.F) {
	info := types.SegmentInfo{BaseIndex: 5, ID: 2, Codec: 1}
	f.Add(aSegment(info, []string{"one", "two"}, []string{"three"}), 50, byte(1))
	f.Add(aSegment(info), 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, with byte) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= with
		}
		s, err := scanSegment(bytes.NewReader(b), int64(len(b)), info)
		if err == nil && (s.end > int64(len(b)) || s.entries > uint64(len(b))/frameHeader) {
			t.Fatalf("%+v in %d bytes", s, len(b))
		}
	})
}
