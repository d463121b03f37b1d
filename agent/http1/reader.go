package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// Reader reads messages from a connection. Its order of calls is
//
//	Wait, ReadRequest, ReadBody until io.EOF, Wait, ReadRequest, ...
//
// (ReadResponse towards engines), and Release at the end. It owns a buffer from the
// first byte of a message until it is asked to Wait for the next and has none of it yet.
// It sets no deadlines: set one before each call. After an error that is a timeout the
// call can be made again and goes on; after any other the connection is of no use. It is
// for one goroutine at a time.
type Reader struct {
	conn net.Conn
	pool *Buffers
	raw  syscall.RawConn       // nil when the connection must be waited for by reading a byte
	try  func(fd uintptr) bool // r.attempt, made once

	b          *block // nil while idle
	start, end int    // bytes of b.buf that were read and not yet given out
	base, head int    // the head is b.buf[base:head]
	inHead     bool   // a head has begun and is not complete
	reading    bool   // b.body is in use
	got        int    // what attempt found
	gotErr     error
	first      [1]byte
}

// NewReader reads from conn, which is net's own or any other.
func NewReader(conn net.Conn, pool *Buffers) *Reader {
	r := &Reader{conn: conn, pool: pool}
	r.direct()
	return r
}

// Wait returns when a byte of the next message is there. Until then no buffer is held,
// and heads and pieces that were given out do not hold any more. It returns io.EOF when
// the connection has ended, the connection's error, or ErrUnread.
func (r *Reader) Wait() error {
	switch {
	case r.start < r.end && !r.unread():
		return nil
	case r.unread():
		return ErrUnread
	}
	r.Release()
	if err := r.wait(); err != nil {
		return ended(err, io.EOF)
	}
	return nil
}

// ReadRequest returns the next head, which holds until the next call of Wait,
// ReadRequest, ReadResponse or Release. It waits when there is no byte of it, as Wait does. It
// returns io.EOF when the connection ends before the first byte, io.ErrUnexpectedEOF
// when it ends later, an *Error, the connection's error, or ErrUnread.
func (r *Reader) ReadRequest() (*Request, error) {
	if err := r.beginHead(); err != nil {
		return nil, err
	}
	q := &r.b.request
	if !r.inHead {
		q.Reset()
		r.inHead = true
	}
	for {
		n, err := q.parse(r.b.buf[r.base:r.end], r.pool.limits)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if f := q.Framing(); r.endHead(n, f) {
				q.bind(r.b.buf[r.base:r.head])
			}
			return q, nil
		}
		if err := r.more(); err != nil {
			return nil, ended(err, io.ErrUnexpectedEOF)
		}
	}
}

// ReadResponse is ReadRequest for the response to a request of that method. Interim
// responses are returned like others; ask again after one.
func (r *Reader) ReadResponse(method []byte) (*Response, error) {
	if err := r.beginHead(); err != nil {
		return nil, err
	}
	p := &r.b.response
	if !r.inHead {
		p.Reset()
		r.inHead = true
	}
	for {
		n, err := p.parse(r.b.buf[r.base:r.end], r.pool.limits)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			if f := p.Framing(method); r.endHead(n, f) {
				p.bind(r.b.buf[r.base:r.head])
			}
			return p, nil
		}
		if err := r.more(); err != nil {
			return nil, ended(err, io.ErrUnexpectedEOF)
		}
	}
}

// Ahead reads once what comes behind a message that was read whole, without giving it out:
// for somebody who wants to know, while the answer is under way, whether the client is still
// there. It may be called by another goroutine, as long as no method is called beside it;
// heads and pieces that were given out stay as they are. It returns io.EOF when the
// connection has ended, and nil when there is something, or no room for it.
func (r *Reader) Ahead() error {
	if r.b == nil || r.unread() || r.end == len(r.b.buf) {
		return nil
	}
	if err := r.fill(); err != nil {
		return ended(err, io.EOF)
	}
	return nil
}

// beginHead waits for the first byte of a head.
func (r *Reader) beginHead() error {
	if err := r.Wait(); err != nil {
		return err
	}
	if !r.inHead {
		r.base = r.start
	}
	return nil
}

// endHead is at the end of a head of n bytes. It reports whether the head was moved, to
// have room for pieces of the body behind it.
func (r *Reader) endHead(n int, f Framing) (moved bool) {
	r.inHead, r.head, r.start = false, r.base+n, r.base+n
	r.b.body.begin(f, r.pool.limits)
	r.reading = !r.b.body.Done()
	if !r.reading || len(r.b.buf)-r.head >= r.pool.room() {
		return false
	}
	r.makeRoom()
	if len(r.b.buf)-r.head < r.pool.room() {
		r.pool.grow(r.b, 0, r.end)
	}
	return true
}

// makeRoom moves the head, and what is behind it, to the beginning of the buffer.
func (r *Reader) makeRoom() {
	copy(r.b.buf, r.b.buf[r.base:r.end])
	r.start, r.end, r.head = r.start-r.base, r.end-r.base, r.head-r.base
	r.base = 0
}

// more reads more of a head.
func (r *Reader) more() error {
	if r.end == len(r.b.buf) {
		if r.base > 0 {
			r.makeRoom()
		} else {
			r.pool.grow(r.b, 0, r.end)
		}
	}
	return r.fill()
}

// fill reads once, into the room that there is.
func (r *Reader) fill() error {
	n, err := r.conn.Read(r.b.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// ended turns the end of the connection into what it means here.
func ended(err, eof error) error {
	if errors.Is(err, io.EOF) {
		return eof
	}
	return fmt.Errorf("read message: %w", err)
}

func (r *Reader) unread() bool { return r.reading && !r.b.body.Done() }

// Buffered is what was read from the connection and not yet given out: after a head with
// an upgrade, the first bytes of the other protocol. It holds as long as the head does.
func (r *Reader) Buffered() []byte {
	if r.b == nil {
		return nil
	}
	return r.b.buf[r.start:r.end:r.end]
}

// Release gives the buffer back, with all that is in it. The Reader is then as new.
func (r *Reader) Release() {
	if r.b != nil {
		r.pool.put(r.b)
	}
	r.b, r.start, r.end, r.inHead, r.reading = nil, 0, 0, false, false
}
