package http1

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestNothingIsAllocated(t *testing.T) {
	head := []byte(browserHead)
	var q Request
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n")
	var p Response
	var b Body
	chunks := []byte("5;x=y\r\nhello\r\n0\r\n\r\n")
	r := NewReader(&script{in: browserHead + post + "Transfer-Encoding: chunked\r\n\r\n" + string(chunks), step: 1000, loop: true}, NewBuffers(Limits{}))
	large := NewReader(&script{in: get + "X: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", step: 4000, loop: true}, NewBuffers(Limits{}))
	out := make([]byte, 0, 4096)
	var err error
	read := func(r *Reader) {
		if _, err = r.ReadRequest(); err == nil {
			_, err = readPieces(r)
		}
	}
	for _, c := range []struct {
		name string
		work func()
	}{
		{"request", func() { q.Reset(); _, err = q.Parse(head, Limits{}) }},
		{"look-up", func() { _, _ = q.Get("cookie"); _ = q.Find("x-not-there", 0); _ = q.Hop(6) }},
		{"response", func() { p.Reset(); _, err = p.Parse(answer, Limits{}) }},
		{"chunks", func() {
			b.Start(Framing{Kind: Chunked}, Limits{})
			for at := 0; !b.Done() && err == nil; {
				var skip, data int
				skip, data, err = b.Next(chunks[at:])
				at += skip + data
			}
		}},
		{"reader", func() { read(r); read(r) }},
		{"reader of large heads", func() { read(large) }},
		{"writing", func() {
			out = AppendRequestLine(out[:0], &q)
			for i := range q.Len() {
				out = q.AppendTo(out, i)
			}
			out, err = AppendField(out, "X-Forwarded-For", q.Host)
			out, err = AppendStatusLine(AppendEnd(out), 200, "OK")
			out = AppendLastChunk(AppendChunk(AppendLength(out, 5), chunks))
		}},
	} {
		if raceOn && strings.HasPrefix(c.name, "reader") {
			continue
		}
		if n := testing.AllocsPerRun(200, c.work); n != 0 || err != nil {
			t.Errorf("%s: %v allocations, %v", c.name, n, err)
		}
	}
}

// readPieces reads the body, and gives its length.
func readPieces(r *Reader) (n int, err error) {
	for {
		p, err := r.ReadBody()
		if n += len(p); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}
	}
}
