package http1

import "sync"

const (
	smallBuffer = 8 << 10 // for the heads of nearly all requests, and pieces of bodies
	minPiece    = 2 << 10 // room behind a head for pieces of its body
)

// Buffers lends memory to Readers, so that idle connections hold none. Make one with
// NewBuffers and share it; it is safe for concurrent use.
type Buffers struct {
	limits Limits
	blocks sync.Pool // *block
	large  sync.Pool // *[]byte, for a head of any size and a trailer section
}

// NewBuffers takes the limits of the messages that the Readers will read.
func NewBuffers(l Limits) *Buffers {
	return &Buffers{limits: l.fill()}
}

// block is what a Reader holds while bytes of a message are there.
type block struct {
	buf      []byte // small, or *large
	small    []byte
	large    *[]byte
	request  Request
	response Response
	body     Body
}

// room is what there must be behind a head that has a body: a trailer section stands in
// one piece.
func (p *Buffers) room() int { return max(p.limits.Trailer, minPiece) }

func (p *Buffers) get() *block {
	if b, ok := p.blocks.Get().(*block); ok {
		return b
	}
	small := make([]byte, max(smallBuffer, p.limits.Trailer))
	return &block{buf: small, small: small}
}

// grow gives the block the large buffer, with the bytes [from, to) at its beginning.
func (p *Buffers) grow(b *block, from, to int) {
	l, ok := p.large.Get().(*[]byte)
	if !ok {
		s := make([]byte, p.limits.Head+max(p.limits.Trailer, smallBuffer))
		l = &s
	}
	copy(*l, b.buf[from:to])
	b.buf, b.large = *l, l
}

func (p *Buffers) put(b *block) {
	if b.large != nil {
		p.large.Put(b.large)
		b.buf, b.large = b.small, nil
	}
	p.blocks.Put(b)
}
