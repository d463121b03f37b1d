package upstream

import (
	"fmt"
	"io"
)

// Read reads the answer's body.
func (x *exchange) Read(p []byte) (int, error) {
	if x.err != nil {
		return 0, x.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := x.readBody(p)
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF: //nolint:errorlint // exactly: the body's own end, never a wrapped one
		x.resp.Trailer = x.chunks.trailer
		if x.resp.Trailer != nil {
			CleanHeader(x.resp.Trailer)
		}
		x.err = err
	default:
		x.err = x.explain(fmt.Errorf("read body: %w", err), PhaseBody)
	}
	x.finish(err == io.EOF) //nolint:errorlint // as above
	return n, x.err
}

func (x *exchange) readBody(p []byte) (int, error) {
	switch x.plan.framing {
	case chunked:
		return x.chunks.read(x.c.br, p)
	case untilClose:
		return x.c.br.Read(p)
	}
	if int64(len(p)) > x.left {
		p = p[:x.left]
	}
	n, err := x.c.br.Read(p)
	x.left -= int64(n)
	if x.left == 0 {
		return n, io.EOF
	}
	return n, unexpected(err)
}

// Close ends the exchange; the connection of an answer that was not read to its end
// is closed.
func (x *exchange) Close() error {
	if x.err == nil {
		x.err = errBodyClosed
	}
	x.finish(false)
	return nil
}

// finish lets the connection go, once. It waits for the sender.
func (x *exchange) finish(whole bool) {
	if x.finished {
		return
	}
	x.finished = true
	if !whole {
		x.c.nc.Close() // frees a sender that is blocked in a write
	}
	sent := x.send.settle()
	alive := x.stop()
	if whole && sent && alive && x.plan.keep && x.c.br.Buffered() == 0 {
		x.c.pool.release(x.c)
		return
	}
	x.c.close()
}
