package upstream

import (
	"bufio"
	"io"
	"sync"

	"github.com/ushercluster/usher/agent/http1"
)

const (
	readerSize = 8 << 10
	headSize   = 4 << 10
	chunkSize  = 32 << 10
)

// Buffers lends out the memory of exchanges and tunnels, so that idle connections
// hold none. The zero value is ready, may be shared, and is safe for concurrent
// use. It must not be copied.
type Buffers struct {
	readers sync.Pool // *bufio.Reader of readerSize
	heads   sync.Pool // *[]byte, grown by use
	chunks  sync.Pool // *[]byte of chunkSize

	once  sync.Once
	wires *http1.Buffers // of answers on Wires
}

// answers are for the Readers of Wires.
func (b *Buffers) answers() *http1.Buffers {
	b.once.Do(func() {
		b.wires = http1.NewBuffers(http1.Limits{Head: maxHead - 1, Fields: maxFields, Trailer: maxTrailer})
	})
	return b.wires
}

func (b *Buffers) reader(r io.Reader) *bufio.Reader {
	br, ok := b.readers.Get().(*bufio.Reader)
	if !ok {
		return bufio.NewReaderSize(r, readerSize)
	}
	br.Reset(r)
	return br
}

func (b *Buffers) putReader(br *bufio.Reader) {
	br.Reset(nil)
	b.readers.Put(br)
}

func (b *Buffers) head() *[]byte { return borrow(&b.heads, headSize) }

func (b *Buffers) putHead(p *[]byte) {
	if cap(*p) <= 8*headSize { // a rare giant shall not stay
		b.heads.Put(p)
	}
}

func (b *Buffers) chunk() *[]byte { return borrow(&b.chunks, chunkSize) }

func (b *Buffers) putChunk(p *[]byte) { b.chunks.Put(p) }

func borrow(pool *sync.Pool, size int) *[]byte {
	if p, ok := pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, size)
	return &p
}
