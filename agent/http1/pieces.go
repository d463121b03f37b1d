package http1

import (
	"errors"
	"io"
)

// ReadBody returns the next piece of the body, of at least one byte; it holds until the
// next call of anything but Left, while the head stays valid. At the end of the body it
// returns io.EOF, which it also does when there is none. Other errors are an *Error,
// io.ErrUnexpectedEOF when the connection ends before the body does, and the connection's.
func (r *Reader) ReadBody() ([]byte, error) {
	for {
		p, err := r.TryBody()
		if p != nil || err != nil {
			return p, err
		}
		if err := r.moreBody(); err != nil {
			return nil, err
		}
	}
}

// TryBody is ReadBody for what has been read from the connection already. It returns nil
// and no error when there is no piece of it, nor the end.
func (r *Reader) TryBody() ([]byte, error) {
	if !r.reading {
		return nil, io.EOF
	}
	for {
		skip, data, err := r.b.body.Next(r.b.buf[r.start:r.end])
		if err != nil {
			return nil, err
		}
		r.start += skip + data
		switch {
		case data > 0:
			return r.b.buf[r.start-data : r.start : r.start], nil
		case r.b.body.Done():
			return nil, io.EOF
		case skip == 0:
			return nil, nil
		}
	}
}

// moreBody reads behind the head, where the bytes of the body were given out already.
func (r *Reader) moreBody() error {
	switch {
	case r.start == r.end:
		r.start, r.end = r.head, r.head
	case r.end == len(r.b.buf): // a trailer section must stand in one piece
		r.end = r.head + copy(r.b.buf[r.head:], r.b.buf[r.start:r.end])
		r.start = r.head
	}
	err := r.fill()
	if errors.Is(err, io.EOF) {
		return r.b.body.End()
	}
	if err != nil {
		return ended(err, nil)
	}
	return nil
}

// Trailer is the trailer section, without what may not stand there, once ReadBody has
// returned io.EOF. It holds as long as the head does. Nil when there was no body.
func (r *Reader) Trailer() *Fields {
	if r.b == nil {
		return nil
	}
	return r.b.body.Trailer()
}

// Whole reports whether the body was read to its end, or there is none. Of a chunked one
// it is not before ReadBody has said so.
func (r *Reader) Whole() bool { return !r.unread() }

// Chunked reports whether the body that is being read is.
func (r *Reader) Chunked() bool { return r.b != nil && r.b.body.kind == Chunked }

// Left is how many bytes of data can be taken from the connection directly, for example
// spliced, instead of by ReadBody: 0 unless Buffered is empty. Say to Took how many were.
func (r *Reader) Left() int64 {
	if !r.reading || r.start < r.end {
		return 0
	}
	return r.b.body.Left()
}

// Took tells that n bytes of Left were taken from the connection.
func (r *Reader) Took(n int64) { r.b.body.Took(n) }
