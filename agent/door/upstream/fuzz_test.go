package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// read is an answer as somebody read it.
type read struct {
	Status  int
	Header  http.Header
	Body    string
	Trailer http.Header
	Rest    string // what follows on the connection
}

// ours reads an answer as an exchange does, without a connection.
func ours(b []byte, method string) (read, error) {
	br := bufio.NewReaderSize(bytes.NewReader(b), readerSize)
	head, err := readHead(br, nil, maxHead)
	if err != nil {
		return read{}, err
	}
	h, err := parseAnswer(string(head))
	if err != nil {
		return read{}, err
	}
	plan, err := planBody(h, method)
	if err != nil {
		return read{}, err
	}
	x := exchange{plan: plan, left: plan.length, c: &conn{br: br}}
	var body bytes.Buffer
	for buf := make([]byte, 100); plan.framing != noBody; {
		n, err := x.readBody(buf)
		body.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return read{}, err
		}
	}
	rest, _ := io.ReadAll(br)
	return read{h.status, h.header, body.String(), x.chunks.trailer, string(rest)}, nil
}

func theirs(b []byte, method string) (read, error) {
	br := bufio.NewReader(bytes.NewReader(b))
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return read{}, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return read{}, err
	}
	rest, _ := io.ReadAll(br)
	return read{resp.StatusCode, resp.Header, string(body), resp.Trailer, string(rest)}, nil
}

// FuzzAnswer holds: what we accept, net/http reads the same.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{ok2, "HTTP/1.0 404\r\nA: b\r\n\r\nxyz", "HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2;a=b\r\nab\r\n0\r\nSum: 7\r\n\r\nrest",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		sameAsNetHTTP(t, b, method)
	})
}

// TestAnswerMutations does the same with fragments that matter, put together in
// ways that a byte-wise fuzzer takes long to find.
func TestAnswerMutations(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[rng.IntN(len(from))] }
	fragments := []string{"\r\n", "\n", "\r", " ", "\t", ":", ";", ",", "0", "5", "\x00", "\x0b", "a", "+", "-", "0x", "chunked", "identity",
		"Content-Length: 2\r\n", "Content-Length: 3\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", "Trailer: A\r\n",
		"A: b\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.0 200\r\n", "2\r\nab\r\n", "0\r\n\r\n", "A: b\r\n\r\n", "\x85", "\xa0", "\"", "204", "304"}
	starts := []string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.0 200 OK\r\nA: b\r\n\r\nab",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n", "HTTP/1.1 304 N\r\nContent-Length: 2\r\n\r\n"}
	accepted := 0
	for range 50_000 {
		s := pick(starts)
		for range 1 + rng.IntN(3) {
			at := rng.IntN(len(s) + 1)
			end := at + rng.IntN(min(len(s)-at, 3)+1)
			s = s[:at] + pick(fragments) + s[end:]
		}
		if sameAsNetHTTP(t, []byte(s), pick([]string{"GET", "GET", "HEAD"})) {
			accepted++
		}
	}
	if accepted < 5000 {
		t.Errorf("only %d answers were accepted: the comparison is of little worth", accepted)
	}
}

// sameAsNetHTTP reports whether we accept an answer; then net/http must read the same.
func sameAsNetHTTP(t *testing.T, b []byte, method string) bool {
	t.Helper()
	got, err := ours(b, method)
	var answer *BadAnswerError
	if err != nil {
		if !errors.As(err, &answer) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		return false
	}
	want, err := theirs(b, method)
	if err != nil {
		t.Fatalf("we accept what net/http does not: %v\n%q", err, b)
	}
	// net/http takes these out of the header and puts announced names into the trailer.
	for _, h := range []http.Header{got.Header, want.Header} {
		delete(h, "Transfer-Encoding")
		delete(h, "Trailer")
		delete(h, "Connection") // taken out of HTTP/1.0 answers
	}
	for name, v := range want.Trailer {
		if len(v) == 0 {
			delete(want.Trailer, name)
		}
	}
	if len(want.Trailer) == 0 {
		want.Trailer = nil
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s\n%q", d, b)
	}
	return true
}

// FuzzChunks holds the same for chunked bodies, and that reading in other portions
// reads the same.
func FuzzChunks(f *testing.F) {
	for _, s := range []string{"0\r\n\r\n", "5\r\nhello\r\n0\r\nA: b\r\n\r\nrest", "A;x\r\n0123456789\r\n00\r\n\r\n", "1 ;x=\"y\"\r\na\r\n0\r\n\r\n"} {
		f.Add([]byte(s), 1)
		f.Add([]byte(s), 100)
	}
	const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	f.Fuzz(func(t *testing.T, b []byte, portion int) {
		if portion < 1 || portion > 1<<16 {
			return
		}
		br := bufio.NewReaderSize(bytes.NewReader(b), readerSize)
		var c chunkReader
		var body bytes.Buffer
		buf := make([]byte, portion)
		for {
			n, err := c.read(br, buf)
			body.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
		}
		want, err := theirs([]byte(head+string(b)), http.MethodGet)
		if err != nil {
			t.Fatalf("we accept what net/http does not: %v", err)
		}
		rest, _ := io.ReadAll(br)
		if body.String() != want.Body || string(rest) != want.Rest || cmp.Diff(want.Trailer, c.trailer) != "" {
			t.Fatalf("body %q, rest %q, trailer %v; net/http %+v", body.String(), rest, c.trailer, want)
		}
	})
}

// FuzzRequestHead holds: whatever passes the check is one request, and net/http reads
// the same from it.
func FuzzRequestHead(f *testing.F) {
	f.Add("GET", "/a", "h", "X-A", "b")
	f.Add("POST", "*", "h:80", "a", "b\r\nc: d")
	f.Fuzz(func(t *testing.T, method, target, host, name, value string) {
		r := Request{Method: method, Target: target, Host: host, Header: http.Header{name: {value}}}
		if r.check() != nil {
			return
		}
		b := r.appendHead(nil)
		if n := strings.Count(string(b), "\n"); n != strings.Count(string(b), crlf) || n > 5 {
			t.Fatalf("%d lines: %q", n, b)
		}
		br := bufio.NewReader(bytes.NewReader(b))
		got, err := http.ReadRequest(br)
		if err != nil {
			return // net/http knows URLs and hosts, and may like fewer
		}
		if br.Buffered() != 0 || got.Method != method || got.RequestURI != target {
			t.Fatalf("net/http reads %s %q and %d more bytes from %q", got.Method, got.RequestURI, br.Buffered(), b)
		}
		if v := got.Header.Get(name); !framingField(name) && !strings.EqualFold(name, "Trailer") && v != strings.Trim(value, " \t") {
			t.Fatalf("field %q is %q, want %q", name, v, value)
		}
	})
}
