package http1

import "io"

// Body finds the data of a body in the bytes that follow a head. It copies nothing and
// allocates only for trailer fields. Use one value for many bodies; the zero value is
// one without a body. It is for one goroutine at a time.
type Body struct {
	kind   Kind
	state  chunkState
	left   int64 // of a sized body or of the present chunk
	passed int64 // bytes that Next has consumed
	digits int   // of the chunk size so far
	excess int   // bytes of chunk extensions that no data has made up for
	limits Limits

	trailer Fields
	section section
}

// Start makes it ready for a body. Limits.Fields and Limits.Trailer are used.
func (b *Body) Start(f Framing, l Limits) { b.begin(f, l.fill()) }

func (b *Body) begin(f Framing, l Limits) {
	*b = Body{kind: f.Kind, left: f.Length, limits: l, trailer: Fields{spans: b.trailer.spans[:0]}}
	if b.kind == Sized && b.left <= 0 {
		b.kind = NoBody
	}
}

// Next looks at the bytes p that come next: p[:skip] is framing, p[skip:skip+data] is
// data, and what is behind that comes next time. When both are zero and Done says no, it
// needs more: call it with a p that begins with the same bytes and has more of them, up
// to Limits.Trailer. An Error has the status 400, or 431 for a trailer section that is too
// large; towards an engine the same faults are a 502.
func (b *Body) Next(p []byte) (skip, data int, err error) {
	switch b.kind {
	case Sized:
		data = int(min(b.left, int64(len(p))))
		b.Took(int64(data))
	case Chunked:
		skip, data, err = b.chunk(p)
		b.passed += int64(skip + data)
	case UntilClose:
		data = len(p)
	}
	return skip, data, err
}

// Done reports whether the body has ended: what follows is the next message.
func (b *Body) Done() bool { return b.kind == NoBody }

// Left is how many bytes of data are sure to come without framing between them: those of
// a sized body, or of the present chunk. They can be taken from the connection by other
// means than Next, for example spliced; then say so to Took.
func (b *Body) Left() int64 { return b.left }

// Took tells that n bytes of Left went another way.
func (b *Body) Took(n int64) {
	b.left -= n
	switch {
	case b.left > 0:
	case b.kind == Sized:
		b.kind = NoBody
	case b.kind == Chunked && b.state == chunkData:
		b.state = dataCR
	}
}

// End tells that the connection has ended. It returns nil when the body is whole, and
// else io.ErrUnexpectedEOF.
func (b *Body) End() error {
	if b.kind == UntilClose {
		b.kind = NoBody
	}
	if b.kind != NoBody {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Trailer is the trailer section of a chunked body that has ended, without the fields
// that may not stand there. It points into the last p and holds as long as that does.
func (b *Body) Trailer() *Fields { return &b.trailer }
