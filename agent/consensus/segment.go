package consensus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/hashicorp/raft-wal/types"
)

// raft-wal checks the last batch of its last segment when it opens, and takes the
// first batch that is not whole for the end of the log: right for a batch that was
// being written when the power went, wrong for one that was acknowledged. So its
// segments are read through before. The layout is that of its format version 0: a
// header of 32 bytes, then frames of 8-byte headers and payloads padded to 8 bytes;
// each batch ends with a commit frame that holds the CRC-32C of the batch.

const (
	segmentHeader = 32
	segmentMagic  = 0x58eb6b0d
	frameHeader   = 8
	frameEntry    = 1
	frameIndex    = 2
	frameCommit   = 3
	scanBuffer    = 64 << 10
	commitsTried  = 16
)

// segmentScan is what a segment holds in whole batches.
type segmentScan struct {
	entries uint64
	index   uint64 // where its index begins; 0: it has none, so it is not sealed
	end     int64  // of the last whole batch; 0: there is none
}

// errLaterBatch means that a whole batch follows one that is not: the latter was
// acknowledged, for a batch is synced before the next is begun.
var errLaterBatch = errors.New("a batch in the middle is damaged, and whole ones follow it")

// scanSegment reads a segment of size bytes through.
func scanSegment(r io.ReaderAt, size int64, info types.SegmentInfo) (segmentScan, error) {
	s, header, err := wholeBatches(r, size)
	if err != nil {
		return s, err
	}
	if s.end > 0 && !header.of(info) {
		return s, errors.New("the header is that of another segment")
	}
	from := max(s.end, segmentHeader)
	later, err := laterBatch(r, from, size)
	if err == nil && later {
		err = errLaterBatch
	}
	return s, err
}

// headerBytes are the head of a segment.
type headerBytes [segmentHeader]byte

func (h headerBytes) of(i types.SegmentInfo) bool {
	u64 := binary.LittleEndian.Uint64
	return u64(h[:]) == segmentMagic && u64(h[8:]) == i.BaseIndex && u64(h[16:]) == i.ID && u64(h[24:]) == i.Codec
}

// wholeBatches counts the entries up to the first batch that is not whole.
func wholeBatches(r io.ReaderAt, size int64) (segmentScan, headerBytes, error) {
	var s segmentScan
	var header headerBytes
	in := bufio.NewReaderSize(io.NewSectionReader(r, 0, size), scanBuffer)
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if err := short(io.ReadFull(in, header[:])); err != nil || size < segmentHeader {
		return s, header, err
	}
	sum.Write(header[:])
	now := s // with what the present batch adds
	for off := int64(segmentHeader); ; {
		var h [frameHeader]byte
		if n, err := io.ReadFull(in, h[:]); n < frameHeader {
			return s, header, short(n, err)
		}
		payload := int64(binary.LittleEndian.Uint32(h[4:]))
		switch h[0] {
		case frameCommit:
			if sum.Sum32() != uint32(payload) {
				return s, header, nil
			}
			off += frameHeader
			now.end = off
			s = now
			sum.Reset()
			continue
		case frameEntry:
			now.entries++
		case frameIndex:
			now.index = uint64(off) + frameHeader
		default:
			return s, header, nil
		}
		sum.Write(h[:])
		padded := (payload + frameHeader - 1) &^ (frameHeader - 1)
		if off += frameHeader + padded; off > size {
			return s, header, nil
		}
		if _, err := io.CopyN(sum, in, padded); err != nil {
			return s, header, short(0, err)
		}
	}
}

// short makes an early end of the file no error.
func short(_ int, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// laterBatch looks for a whole batch after from, where the frames cannot be followed
// any more: two commit frames between which the check sum of the second is right.
// What was left of one batch that was cut short has at most one commit frame.
func laterBatch(r io.ReaderAt, from, size int64) (bool, error) {
	used, err := lastByte(r, from, size)
	if err != nil || used <= from {
		return false, err
	}
	b := make([]byte, used-from)
	if _, err := r.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	var commits []int // of the last frames that look like one
	table := crc32.MakeTable(crc32.Castagnoli)
	for i := 0; i+frameHeader <= len(b); i += frameHeader {
		if binary.LittleEndian.Uint32(b[i:]) != frameCommit {
			continue
		}
		want := binary.LittleEndian.Uint32(b[i+4:])
		for _, c := range commits {
			if batch := b[c+frameHeader : i]; len(batch) > 0 && crc32.Checksum(batch, table) == want {
				return true, nil
			}
		}
		if commits = append(commits, i); len(commits) > commitsTried {
			commits = slices.Delete(commits, 0, 1)
		}
	}
	return false, nil
}

// lastByte returns where the zeros begin to which the file was preallocated.
func lastByte(r io.ReaderAt, from, size int64) (int64, error) {
	used := from
	buf, zeros := make([]byte, scanBuffer), make([]byte, scanBuffer)
	for off := from; off < size; off += scanBuffer {
		n, err := r.ReadAt(buf[:min(scanBuffer, size-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read at %d: %w", off, err)
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			used = off + int64(len(bytes.TrimRight(buf[:n], "\x00")))
		}
	}
	return min((used-from+frameHeader-1)&^(frameHeader-1)+from, size), nil
}
