package http1

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seen is everything that a parsed request says, copied.
type seen struct {
	N                                           int
	Method, Target, Path, Query, Host, Scheme   string
	Minor                                       uint8
	Length                                      int64
	Chunked, KeepAlive, Continue, WebSocket, Q0 bool
	Fields                                      [][2]string
}

func pairs(f *Fields) (all [][2]string) {
	for i := range f.Len() {
		all = append(all, [2]string{string(f.Name(i)), string(f.Value(i))})
	}
	return all
}

func look(r *Request, n int) seen {
	if n == 0 {
		return seen{}
	}
	return seen{
		N: n, Method: string(r.Method), Target: string(r.AppendTarget(nil)), Path: string(r.Path), Query: string(r.Query),
		Host: string(r.Host), Scheme: string(r.Scheme), Minor: r.Minor, Length: r.ContentLength, Chunked: r.Chunked,
		KeepAlive: r.KeepAlive, Continue: r.Continue, WebSocket: r.WebSocket, Q0: r.Query != nil, Fields: pairs(&r.Fields),
	}
}

// parseRequest parses all at once and byte by byte, in memory that moves, and insists
// that both say the same.
func parseRequest(t testing.TB, in string, l Limits) (seen, *Error) {
	t.Helper()
	var whole, bytewise Request
	n, err := whole.Parse([]byte(in), l)
	want := look(&whole, n)
	var got seen
	var err2 error
	still := []byte(in)
	for i := range len(in) + 1 {
		b := still[:i]
		if len(in) < 4096 { // to copy all of a long one each time takes long
			b = slices.Clone(b)
		}
		if n, err2 = bytewise.Parse(b, l); n > 0 || err2 != nil {
			got = look(&bytewise, n)
			if n > 0 && i != n {
				t.Errorf("%q: complete after %d bytes, and its length is %d", in, i, n)
			}
			break
		}
	}
	if diff := cmp.Diff(want, got) + cmp.Diff(asError(t, err), asError(t, err2)); diff != "" {
		t.Errorf("%q: at once and byte by byte differ:\n%s", in, diff)
	}
	return want, asError(t, err)
}

func asError(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("an error of type %T: %v", err, err)
	}
	return e
}

// What was read is not read again: it is spoilt behind the parser's back, and it must not
// notice. Only where a part ends may it look at the whole of that, so there it sees the
// truth; and a version is too short to be read in pieces.
func TestParseGoesOnWhereItStopped(t *testing.T) {
	var r Request
	head := []byte(browserHead)
	for i := range len(head) + 1 {
		b := slices.Clone(head[:i])
		if i > 0 && isHostByte(b[i-1]) && r.phase != inVersion {
			clear(b[:max(0, r.at-1)])
		}
		if n, err := r.Parse(b, Limits{}); err != nil || n > 0 != (i == len(head)) {
			t.Fatalf("after %d bytes: %d, %v", i, n, err)
		}
	}
}

func TestResetForgetsAll(t *testing.T) {
	var r, fresh Request
	all := "POST http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: upgrade, x\r\nUpgrade: websocket\r\nX: y\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n"
	plain := []byte("GET / HTTP/1.0\r\n\r\n")
	if n, err := r.Parse([]byte(all), Limits{}); n == 0 || err != nil {
		t.Fatal(n, err)
	}
	if !r.Hop(r.Find("x", 0)) {
		t.Error("Connection does not name X")
	}
	r.Reset()
	n, err := r.Parse(plain, Limits{})
	m, _ := fresh.Parse(plain, Limits{})
	if diff := cmp.Diff(look(&fresh, m), look(&r, n)); diff != "" || err != nil || r.named {
		t.Errorf("%v, named %v\n%s", err, r.named, diff)
	}
}

func TestBytesBehindTheHeadAreNotLookedAt(t *testing.T) {
	head := "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	got, err := parseRequest(t, head+"\x00\r\rGET", Limits{})
	if err != nil || got.N != len(head) {
		t.Fatal(got.N, err)
	}
}

// A table of the characters, made from the words of RFC 9110.
func TestCharacters(t *testing.T) {
	for c := range 256 {
		b := byte(c)
		alpha := b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		token := alpha || b >= '0' && b <= '9' || b != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
		want := byte(0)
		if token {
			want = bytes.ToLower([]byte{b})[0]
		}
		if lower[b] != want {
			t.Errorf("lower[%q] = %q", b, lower[b])
		}
		text := b == '\t' || b >= ' ' && b != 0x7f
		for at := range 20 { // words of eight and the rest
			s := bytes.Repeat([]byte{0xff}, 20)
			s[at] = b
			if got := skipValue(s, 0); (got == 20) != text || got < 20 && got != at {
				t.Errorf("skipValue stops at %d for %q at %d", got, b, at)
			}
			s = bytes.Repeat([]byte{'!'}, 20)
			s[at] = b
			if got := skipVisible(s, 0); (got == 20) != (b > ' ' && b < 0x7f) || got < 20 && got != at {
				t.Errorf("skipVisible stops at %d for %q at %d", got, b, at)
			}
		}
	}
}
