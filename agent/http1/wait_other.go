//go:build !unix

package http1

func (r *Reader) direct() {}

func (r *Reader) wait() error { return r.waitByte() }
