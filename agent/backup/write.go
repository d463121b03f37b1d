package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
)

// Writer writes a file. Close ends it: without that it does not open. It belongs to one
// goroutine. After an error it is of no more use.
type Writer struct {
	to    io.Writer
	sum   hash.Hash
	seal  *sealer
	plain []byte // of the chunk that fills
	out   []byte
}

// NewWriter begins a file. It draws the file's key from random, a cryptographic source,
// and stores it as seal returns it.
func NewWriter(to io.Writer, h Header, random io.Reader, seal func(key []byte) ([]byte, error)) (*Writer, error) {
	key := make([]byte, fileKey)
	if _, err := io.ReadFull(random, key); err != nil {
		return nil, fmt.Errorf("draw the snapshot's key: %w", err)
	}
	sealed, err := seal(key)
	if err != nil {
		return nil, err
	}
	head, err := prelude(h, sealed)
	if err != nil {
		return nil, err
	}
	s, err := newSealer(key, head)
	if err != nil {
		return nil, err
	}
	w := &Writer{to: to, sum: sha256.New(), seal: s, plain: make([]byte, 0, chunkSize)}
	return w, w.put(head)
}

// Write implements io.Writer.
func (w *Writer) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(w.plain) == chunkSize { // more is coming, so it is not the last
			if err := w.chunk(false); err != nil {
				return n, err
			}
		}
		m := min(chunkSize-len(w.plain), len(b)-n)
		w.plain = append(w.plain, b[n:n+m]...)
		n += m
	}
	return n, nil
}

// Close writes the last chunk and the sum. It does not close what is below.
func (w *Writer) Close() error {
	if err := w.chunk(true); err != nil {
		return err
	}
	if _, err := w.to.Write(w.sum.Sum(nil)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func (w *Writer) chunk(last bool) error {
	size := len(w.plain) + w.seal.aead.Overhead()
	w.out = binary.BigEndian.AppendUint32(w.out[:0], uint32(size))
	w.out = w.seal.aead.Seal(w.out, w.seal.nonce(last), w.plain, w.seal.bind[:])
	w.plain = w.plain[:0]
	return w.put(w.out)
}

func (w *Writer) put(b []byte) error {
	w.sum.Write(b)
	if _, err := w.to.Write(b); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}
