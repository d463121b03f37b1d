package http1

import "io"

// waitByte waits for a first byte without a buffer, on connections of any kind.
func (r *Reader) waitByte() error {
	n, err := r.conn.Read(r.first[:])
	switch {
	case n == 0 && err == nil:
		return io.ErrNoProgress
	case n == 0:
		return err
	}
	r.b = r.pool.get()
	r.b.buf[0], r.end = r.first[0], 1
	return nil
}
