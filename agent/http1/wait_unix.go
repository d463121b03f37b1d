//go:build unix

package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// direct finds out whether the connection can be waited for by its descriptor. Only
// net's own types: another may change what Read gives.
func (r *Reader) direct() {
	var err error
	switch c := r.conn.(type) {
	case *net.TCPConn:
		r.raw, err = c.SyscallConn()
	case *net.UnixConn:
		r.raw, err = c.SyscallConn()
	}
	if err != nil {
		r.raw = nil
	}
	r.try = r.attempt
}

// wait takes a buffer for each attempt to read, and gives it back when there was
// nothing, so that none is held while the connection is parked. That costs no system
// call more than a Read does.
func (r *Reader) wait() error {
	if r.raw == nil {
		return r.waitByte()
	}
	r.got, r.gotErr = 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return err
	}
	switch {
	case r.gotErr != nil:
		return os.NewSyscallError("read", r.gotErr)
	case r.got == 0:
		return io.EOF
	}
	r.end = r.got
	return nil
}

func (r *Reader) attempt(fd uintptr) (done bool) {
	b := r.pool.get()
	for {
		r.got, r.gotErr = syscall.Read(int(fd), b.buf)
		if !errors.Is(r.gotErr, syscall.EINTR) {
			break
		}
	}
	if r.gotErr == nil && r.got > 0 {
		r.b = b
		return true
	}
	r.pool.put(b)
	return !errors.Is(r.gotErr, syscall.EAGAIN)
}
