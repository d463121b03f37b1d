package http1

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// decoded is what a body came to.
type decoded struct {
	Data    string
	Rest    string // behind the body
	Done    bool
	Trailer [][2]string
}

// decode gives the decoder at most step bytes more each time, in memory that moves.
func decode(t testing.TB, f Framing, in string, step int) (d decoded, failed error) {
	t.Helper()
	var b Body
	b.Start(f, Limits{})
	from, to := 0, 0
	for !b.Done() {
		skip, data, err := b.Next([]byte(in[from:to]))
		if err != nil {
			return d, err
		}
		d.Data += in[from+skip : from+skip+data]
		from += skip + data
		switch {
		case from > to:
			t.Fatalf("%q: consumed more than there was", in)
		case skip+data > 0 || b.Done():
		case to == len(in):
			d.Rest = in[from:]
			return d, nil
		default:
			to = min(len(in), to+step)
		}
	}
	d.Done, d.Rest = true, in[from:]
	d.Trailer = pairs(b.Trailer())
	return d, nil
}

// decodeAll insists that the cuts do not matter.
func decodeAll(t testing.TB, f Framing, in string) (decoded, error) {
	t.Helper()
	want, err := decode(t, f, in, len(in)+1)
	for _, step := range []int{1, 2, 3, 7} {
		got, err2 := decode(t, f, in, step)
		if err != nil { // what was decoded before a fault depends on when it was seen
			want.Data, got.Data = "", ""
		}
		if diff := cmp.Diff(want, got) + cmp.Diff(asError(t, err), asError(t, err2)); diff != "" {
			t.Errorf("%q: at once and by %d differ:\n%s", in, step, diff)
		}
	}
	return want, err
}

func TestBodies(t *testing.T) {
	for _, c := range []struct {
		name string
		f    Framing
		in   string
		want decoded
	}{
		{"none", Framing{}, "GET", decoded{"", "GET", true, nil}},
		{"sized", Framing{Sized, 3}, "abcGET", decoded{"abc", "GET", true, nil}},
		{"sized, and short", Framing{Sized, 4}, "abc", decoded{"abc", "", false, nil}},
		{"sized of none", Framing{Sized, 0}, "abc", decoded{"", "abc", true, nil}},
		{"until close", Framing{Kind: UntilClose}, "abc", decoded{"abc", "", false, nil}},
		{"chunks", Framing{Kind: Chunked}, "3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\nGET", decoded{"abc0123456789", "GET", true, nil}},
		{"no chunk", Framing{Kind: Chunked}, "000\r\n\r\n", decoded{"", "", true, nil}},
		{"leading zeros", Framing{Kind: Chunked}, "000000000000001\r\na\r\n0\r\n\r\n", decoded{"a", "", true, nil}},
		{"extensions", Framing{Kind: Chunked}, "1;a=b;c=\"d\te\"\r\na\r\n0;x\r\n\r\n", decoded{"a", "", true, nil}},
		{"trailers", Framing{Kind: Chunked}, "1\r\na\r\n0\r\nX-Sum: \t1 \r\nContent-Length: 5\r\nHost: b\r\nTransfer-Encoding: chunked\r\ncookie: c\r\nContent-Digest: d\r\nIf-Match: e\r\n\r\nGET",
			decoded{"a", "GET", true, [][2]string{{"X-Sum", "1"}, {"Content-Digest", "d"}}}},
		{"data that looks like a chunk", Framing{Kind: Chunked}, "5\r\n0\r\n\r\n\r\n0\r\n\r\n", decoded{"0\r\n\r\n", "", true, nil}},
		{"not ended", Framing{Kind: Chunked}, "1\r\na\r\n0\r\n", decoded{"a", "", false, nil}},
		{"not ended amid trailers", Framing{Kind: Chunked}, "0\r\nX: y\r\n", decoded{"", "X: y\r\n", false, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := decodeAll(t, c.f, c.in)
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestChunksRefused(t *testing.T) { // RFC 9112 7.1
	const missing, char = "no chunk size where one should be", "character that is not allowed in a chunk size"
	for _, c := range []struct {
		name, in string
		status   int
		reason   string
	}{
		{"no size", "\r\n", 400, missing},
		{"extension alone", ";a\r\n", 400, missing},
		{"minus", "-1\r\n", 400, missing},
		{"plus", "+1\r\n", 400, missing},
		{"space first", " 1\r\n", 400, missing},
		{"0x", "0x1\r\n", 400, char},
		{"space behind", "1 \r\n", 400, char},
		{"space before an extension", "1 ;a\r\n", 400, char},
		{"underscore", "1_0\r\n", 400, char},
		{"NUL", "1\x00\r\n", 400, char},
		{"sixteen digits", "1000000000000000\r\n", 400, "chunk size is too large"},
		{"2^64 and 1", "10000000000000001\r\n", 400, "chunk size is too large"},
		{"many zeros", strings.Repeat("0", 16) + "\r\n\r\n", 400, "chunk size is too large"},
		{"bare LF after the size", "1\na\r\n0\r\n\r\n", 400, "bare LF after a chunk size"},
		{"bare CR after the size", "1\ra\r\n0\r\n\r\n", 400, "bare CR after a chunk size"},
		{"bare LF in an extension", "1;a\nb\r\n", 400, "bare LF in a chunk extension"},
		{"bare CR in an extension", "1;a\rb\r\n", 400, "bare CR after a chunk size"},
		{"NUL in an extension", "1;\x00\r\n", 400, "NUL in a chunk extension"},
		{"bare LF after the data", "1\r\na\n0\r\n\r\n", 400, "chunk is longer than its size"},
		{"bare CR after the data", "1\r\na\r0\r\n\r\n", 400, "bare CR after a chunk"},
		{"longer than its size", "1\r\nab\r\n0\r\n\r\n", 400, "chunk is longer than its size"},
		{"extension bomb", "1;" + strings.Repeat("a", maxExcess) + "\r\na\r\n0\r\n\r\n", 400, "chunk extensions are too large"},
		{"endless extension", "1;" + strings.Repeat("a", 1<<16), 400, "chunk extensions are too large"},
		{"extensions in small pieces", strings.Repeat("1;aaaa\r\na\r\n", maxExcess), 400, "chunk extensions are too large"},
		{"semicolons in small pieces", strings.Repeat("1;;\r\na\r\n", maxExcess+1), 400, "chunk extensions are too large"},
		{"bare LF for the empty line", "0\r\n\n", 400, "bare LF in place of a field name"},
		{"bare LF in a trailer", "0\r\nX: y\n\r\n", 400, "bare LF in a field value"},
		{"folded trailer", "0\r\nX: y\r\n z\r\n\r\n", 400, "folded line"},
		{"space before a trailer's colon", "0\r\nX : y\r\n\r\n", 400, "white space in or after a field name"},
		{"NUL in a trailer", "0\r\nX: \x00\r\n\r\n", 400, "NUL in a field value"},
		{"next request in place of a trailer", "0\r\nGET / HTTP/1.1\r\n\r\n", 400, "white space in or after a field name"},
		{"large trailer", "0\r\nX: " + strings.Repeat("y", 4<<10) + "\r\n\r\n", 431, "the trailer section is too large"},
		{"many trailers", "0\r\n" + strings.Repeat("X: y\r\n", 101) + "\r\n", 431, "too many fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := decodeAll(t, Framing{Kind: Chunked}, c.in)
			if e := asError(t, err); e == nil || e.Status != c.status || e.Reason != c.reason {
				t.Errorf("%v %+v, want %s", e, d, c.reason)
			}
		})
	}
}

// Data pays for extensions: those of signed chunks pass, however long the body is.
func TestSignedChunks(t *testing.T) {
	chunk := "2000;chunk-signature=" + strings.Repeat("f", 64) + "\r\n" + strings.Repeat("x", 0x2000) + "\r\n"
	d, err := decode(t, Framing{Kind: Chunked}, strings.Repeat(chunk, 100)+"0;chunk-signature="+strings.Repeat("f", 64)+"\r\n\r\n", 4096)
	if err != nil || !d.Done || len(d.Data) != 100*0x2000 {
		t.Errorf("%d bytes, %v", len(d.Data), err)
	}
}

func TestTook(t *testing.T) {
	var b Body
	b.Start(Framing{Sized, 10}, Limits{})
	if _, data, _ := b.Next([]byte("abc")); data != 3 || b.Left() != 7 {
		t.Fatalf("%d, %d left", data, b.Left())
	}
	b.Took(6)
	if b.Done() || !errors.Is(b.End(), io.ErrUnexpectedEOF) {
		t.Error("ended one byte early")
	}
	if b.Took(1); !b.Done() || b.End() != nil {
		t.Error("not ended")
	}
	b.Start(Framing{Kind: Chunked}, Limits{})
	if skip, data, err := b.Next([]byte("5\r\n")); skip != 3 || data != 0 || err != nil || b.Left() != 5 {
		t.Fatal(skip, data, err, b.Left())
	}
	b.Took(5)
	if skip, data, err := b.Next([]byte("\r\n0\r\n\r\n")); skip != 7 || data != 0 || err != nil || !b.Done() {
		t.Error(skip, data, err)
	}
	b.Start(Framing{Kind: UntilClose}, Limits{})
	if b.Done() || b.End() != nil || !b.Done() {
		t.Error("a body until close does not end with the connection")
	}
}
