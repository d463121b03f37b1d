package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Reader reads a file: its header at once, its content after Unlock. It belongs to one
// goroutine, and reads from its source no more than it needs, and nothing of any length
// that the file claims before it is there.
type Reader struct {
	from   *bufio.Reader
	sum    hash.Hash
	header Header
	head   []byte
	sealed []byte

	seal  *sealer
	chunk []byte // ciphertext of the last one that was read
	plain []byte // of it, not handed out yet
	ended bool
}

// NewReader reads what is in the clear. Errors: ErrNoSnapshot, ErrNewer, ErrDamaged, or
// the source's.
func NewReader(from io.Reader) (*Reader, error) {
	r := &Reader{from: bufio.NewReaderSize(from, chunkSize), sum: sha256.New()}
	mark, err := r.take(len(magic) + 1)
	if errors.Is(err, ErrDamaged) || err == nil && string(mark[:len(magic)]) != magic {
		return nil, ErrNoSnapshot
	}
	if err != nil {
		return nil, err
	}
	if mark[len(magic)] != version {
		return nil, ErrNewer
	}
	text, err := r.field(4, maxHeader)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.header); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamaged, err)
	}
	if r.sealed, err = r.field(2, maxKey); err != nil {
		return nil, err
	}
	r.sealed = bytes.Clone(r.sealed)
	return r, nil
}

// Header is what the file says of itself. Nothing vouches for it before the content has
// been read to its end.
func (r *Reader) Header() Header { return r.header }

// Unlock opens the file's key, by the inverse of what NewWriter was given.
func (r *Reader) Unlock(open func(sealed []byte) ([]byte, error)) error {
	key, err := open(r.sealed)
	if err != nil {
		return err
	}
	if len(key) != fileKey {
		return fmt.Errorf("%w: its key has %d bytes", ErrDamaged, len(key))
	}
	r.seal, err = newSealer(key, r.head)
	return err
}

// Read implements io.Reader. What it returns is authentic, and io.EOF means that it was
// all. It fails with ErrDamaged otherwise.
func (r *Reader) Read(b []byte) (int, error) {
	if r.seal == nil {
		return 0, errors.New("read snapshot: it is locked")
	}
	for len(r.plain) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.plain)
	r.plain = r.plain[n:]
	return n, nil
}

// Verify reads the rest without opening it and compares the sum. It is for whoever has no
// key; nothing can be read after it.
func (r *Reader) Verify() error {
	const sum = sha256.Size
	for {
		b, err := r.from.Peek(sum + 1)
		if errors.Is(err, io.EOF) {
			if len(b) != sum || !bytes.Equal(b, r.sum.Sum(nil)) {
				return fmt.Errorf("%w: it is cut off, or its check sum is wrong", ErrDamaged)
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("read snapshot: %w", err)
		}
		n := max(1, r.from.Buffered()-sum)
		b, _ = r.from.Peek(n) // they are there
		r.sum.Write(b)
		_, _ = r.from.Discard(n)
	}
}

// next opens a chunk; behind the last one stand the sum and the end.
func (r *Reader) next() error {
	size, err := r.number(4)
	if err != nil {
		return err
	}
	overhead := r.seal.aead.Overhead()
	if size < uint64(overhead) || size > uint64(chunkSize+overhead) {
		return fmt.Errorf("%w: a chunk of %d bytes", ErrDamaged, size)
	}
	if r.chunk, err = r.take(int(size)); err != nil {
		return err
	}
	behind, err := r.from.Peek(sha256.Size + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read snapshot: %w", err)
	}
	r.ended = len(behind) <= sha256.Size
	if r.plain, err = r.seal.aead.Open(r.chunk[:0], r.seal.nonce(r.ended), r.chunk, r.seal.bind[:]); err != nil {
		return fmt.Errorf("%w: a chunk was changed, or some are missing", ErrDamaged)
	}
	if r.ended && !bytes.Equal(behind, r.sum.Sum(nil)) {
		return fmt.Errorf("%w: its check sum is wrong", ErrDamaged)
	}
	return nil
}

// field is a number of so many bytes and as many bytes as it says.
func (r *Reader) field(width, most int) ([]byte, error) {
	n, err := r.number(width)
	if err != nil {
		return nil, err
	}
	if n > uint64(most) {
		return nil, fmt.Errorf("%w: a field of %d bytes", ErrDamaged, n)
	}
	return r.take(int(n))
}

func (r *Reader) number(width int) (uint64, error) {
	b, err := r.take(width)
	if err != nil {
		return 0, err
	}
	var n [8]byte
	copy(n[8-width:], b)
	return binary.BigEndian.Uint64(n[:]), nil
}

// take is the next n bytes. Before the file is unlocked they belong to the prelude.
func (r *Reader) take(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.from, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("%w: it is cut off", ErrDamaged)
	} else if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	r.sum.Write(b)
	if r.seal == nil {
		r.head = append(r.head, b...)
	}
	return b, nil
}
