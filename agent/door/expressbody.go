package door

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/http1"
)

// copy carries the body, behind the head in out; its last bytes are left in out.
func (x *express) copy(w *upstream.Wire, form bodyForm) error {
	r, limit := w.Reader(), serve.Ticks(x.set.Traffic.BodyIdle)
	for {
		if form != chunks && r.Left() >= largeBody {
			if err := x.large(w); err != nil {
				return err
			}
		}
		p, err := r.TryBody()
		if p == nil && err == nil { // the engine makes a pause: what there is goes now
			if err := x.flush(limit); err != nil {
				return err
			}
			p, err = r.ReadBody()
		}
		switch {
		case errors.Is(err, io.EOF):
			if form == chunks {
				x.appendLast(r.Trailer())
			}
			return nil
		case err != nil:
			return fmt.Errorf("read body: %w", err)
		case form == chunks:
			x.out = http1.AppendChunk(x.out, p)
		default:
			x.out = append(x.out, p...)
		}
		x.bytes += int64(len(p))
		if len(x.out) >= wholePiece && !r.Whole() {
			if err := x.flush(limit); err != nil {
				return err
			}
		}
		if form != chunks && r.Whole() {
			return nil
		}
	}
}

// flush writes what there is in out.
func (x *express) flush(limit int64) error {
	if !x.c.Await(limit) {
		return errCutShort
	}
	if len(x.out) == 0 {
		return nil
	}
	err := x.write(x.out)
	x.out = x.out[:0]
	return err
}

func (x *express) write(b []byte) error {
	if _, err := x.c.Direct().Write(b); err != nil {
		return &clientError{err}
	}
	return nil
}

// appendLast ends a chunked body, with those trailer fields that may go on.
func (x *express) appendLast(f *http1.Fields) {
	x.out = http1.AppendLastChunk(x.out)
	for i := range f.Len() {
		if name := f.Name(i); !f.Hop(i) && !proxyAuth(name) && !foldedPrefix(name, "x-usher-") {
			x.out = f.AppendTo(x.out, i)
		}
	}
	x.out = http1.AppendEnd(x.out)
}

// largeBody is from how much on a body goes in larger pieces than a Reader has.
const largeBody = 16 << 10

// large carries the rest of a sized body, or what is left of one that ends with its
// connection, in large pieces.
func (x *express) large(w *upstream.Wire) error {
	limit := serve.Ticks(x.set.Traffic.BodyIdle)
	if err := x.flush(limit); err != nil {
		return err
	}
	if done, err := x.splice(w, limit); done || err != nil {
		return err
	}
	buf := x.d.copies.Get().(*[]byte)
	defer x.d.copies.Put(buf)
	r, nc := w.Reader(), w.Net()
	for left := r.Left(); left > 0; {
		if !x.c.Await(limit) {
			return errCutShort
		}
		n, err := nc.Read((*buf)[:min(int64(len(*buf)), left)])
		if n > 0 {
			r.Took(int64(n))
			left -= int64(n)
			x.bytes += int64(n)
			if werr := x.write((*buf)[:n]); werr != nil {
				return werr
			}
		}
		if err != nil && left > 0 {
			return fmt.Errorf("read body: %w", unexpectedEnd(err))
		}
	}
	return nil
}

// Pieces in which a body goes from socket to socket, and from how much on it does. A piece
// is what has to be done within the limit: they grow while they go well.
const (
	splicedBody = 256 << 10
	firstPiece  = 64 << 10
	lastPiece   = 4 << 20
)

// splice lets the system carry a large body from one socket to the other, where it can
// (splice(2)); it returns false where it cannot, or need not.
func (x *express) splice(w *upstream.Wire, limit int64) (bool, error) {
	r := w.Reader()
	src, from := w.Net().(*net.TCPConn)
	dst, to := x.c.Direct().(*net.TCPConn)
	if !from || !to || r.Left() < splicedBody {
		return false, nil
	}
	part := io.LimitedReader{R: src}
	for piece := int64(firstPiece); r.Left() > 0; {
		if !x.c.Await(limit) {
			return false, errCutShort
		}
		began, want := x.d.cfg.Now(), min(piece, r.Left())
		part.N = want
		n, err := dst.ReadFrom(&part)
		r.Took(n)
		x.bytes += n
		switch {
		case err != nil:
			return false, fmt.Errorf("pass on body: %w", err)
		case n < want:
			return false, fmt.Errorf("read body: %w", io.ErrUnexpectedEOF)
		case x.d.cfg.Now().Sub(began) < time.Second:
			piece = min(2*piece, lastPiece)
		}
	}
	return true, nil
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
