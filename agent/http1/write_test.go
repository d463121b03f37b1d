package http1

import (
	"errors"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
)

func TestAppend(t *testing.T) {
	var r Request
	if _, err := r.Parse([]byte("PATCH http://a/b?c HTTP/1.0\r\nHost: a\r\nX:   y \r\n\r\n"), Limits{}); err != nil {
		t.Fatal(err)
	}
	b := AppendRequestLine([]byte("."), &r)
	for i := range r.Len() {
		b = r.AppendTo(b, i)
	}
	b, err := AppendField(b, "Empty", "")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = AppendField(b, []byte("X-Text"), []byte("a\tb \xff")); err != nil {
		t.Fatal(err)
	}
	b = AppendEnd(AppendLength(b, 1<<40))
	if want := ".PATCH /b?c HTTP/1.1\r\nHost: a\r\nX: y\r\nEmpty: \r\nX-Text: a\tb \xff\r\nContent-Length: 1099511627776\r\n\r\n"; string(b) != want {
		t.Errorf("%q", b)
	}
	if b, err = AppendStatusLine(nil, 404, "Not Found"); string(b) != "HTTP/1.1 404 Not Found\r\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if b, err = AppendStatusLine(nil, 599, ""); string(b) != "HTTP/1.1 599 \r\n" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	same := func(name string, b []byte, err error) {
		t.Helper()
		if !errors.Is(err, ErrValue) || string(b) != "." {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	dst := []byte(".")
	for _, c := range []string{"a\rb", "a\nb", "a\x00b", "\r\nX: y", "a\x7f", "\v"} {
		b, err := AppendField(dst, "X", c)
		same("value", b, err)
		b, err = AppendStatusLine(dst, 200, c)
		same("reason", b, err)
	}
	for _, c := range []string{"", " X", "X ", "X:", "X\r\nY", "\xc3\xa4", "X\x00"} {
		b, err := AppendField(dst, c, "y")
		same("name", b, err)
	}
	for _, c := range []int{-1, 0, 99, 1000} {
		b, err := AppendStatusLine(dst, c, "x")
		same("status", b, err)
	}
}

// What is written can be read, by ourselves and by others.
func TestAppendChunks(t *testing.T) {
	var b []byte
	want := ""
	for _, n := range []int{1, 0, 15, 16, 255, 4096, 70000} {
		data := strings.Repeat("x", n)
		b = AppendChunk(b, []byte(data))
		want += data
	}
	b = AppendEnd(append(AppendChunkSize(b, 3), "end"...))
	want += "end"
	b = AppendEnd(AppendLastChunk(b))
	d, err := decode(t, Framing{Kind: Chunked}, string(b), 1000)
	if err != nil || !d.Done || d.Rest != "" || d.Data != want {
		t.Errorf("%v, done %v, %d bytes", err, d.Done, len(d.Data))
	}
	if got, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(string(b)))); err != nil || string(got) != want {
		t.Errorf("net/http: %v, %d bytes", err, len(got))
	}
}
