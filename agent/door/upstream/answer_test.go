package upstream

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const crlf = "\r\n"

func TestAnswers(t *testing.T) {
	many := func(n int) string { return strings.Repeat("A: b\r\n", n) }
	for _, tc := range []struct {
		name, method, answer string
		status               int
		reason, body         string
		length               int64
		header               http.Header
		trailer              http.Header
		reused               bool
	}{
		{name: "content length", answer: ok2, status: 200, reason: "OK", body: "ok", length: 2,
			header: http.Header{"Content-Length": {"2"}}, reused: true},
		{name: "empty body", answer: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", status: 200, reused: true,
			header: http.Header{"Content-Length": {"0"}}},
		{name: "no reason and no space", answer: "HTTP/1.1 404\r\nContent-Length: 1\r\n\r\nx", status: 404, body: "x", length: 1,
			header: http.Header{"Content-Length": {"1"}}, reused: true},
		{name: "until close", answer: "HTTP/1.1 200 OK\r\n\r\nto the end", status: 200, reason: "OK", body: "to the end", length: -1,
			header: http.Header{}},
		{name: "http 1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, reason: "OK", body: "ok", length: 2,
			header: http.Header{"Content-Length": {"2"}}},
		{name: "connection close", answer: "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nFoo: 1\r\nContent-Length: 2\r\n\r\nok", status: 200,
			reason: "OK", body: "ok", length: 2, header: http.Header{"Content-Length": {"2"}}},
		{name: "chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
			status: 200, reason: "OK", body: "ab0123456789", length: -1, header: http.Header{}, reused: true},
		{name: "trailers", answer: "HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nsum: 7\r\nSum:8 \r\n\r\n",
			status: 200, reason: "OK", body: "a", length: -1, header: http.Header{"Trailer": {"Sum"}},
			trailer: http.Header{"Sum": {"7", "8"}}, reused: true},
		{name: "head", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", status: 200, reason: "OK", length: 7,
			header: http.Header{"Content-Length": {"7"}}, reused: true},
		{name: "head chunked", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", status: 200, reason: "OK",
			length: -1, header: http.Header{}, reused: true},
		{name: "not modified", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", status: 304, reason: "Not Modified",
			length: 7, header: http.Header{"Content-Length": {"7"}}, reused: true},
		{name: "no content", answer: "HTTP/1.1 204 No Content\r\n\r\n", status: 204, reason: "No Content", header: http.Header{}, reused: true},
		{name: "no content that announces some", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", status: 204,
			reason: "No Content", header: http.Header{"Content-Length": {"3"}}},
		{name: "repeated equal lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nok", status: 200,
			reason: "OK", body: "ok", length: 2, header: http.Header{"Content-Length": {"2"}}, reused: true},
		{name: "stray bytes behind", answer: ok2 + "HTTP/1.1 200 OK\r\n", status: 200, reason: "OK", body: "ok", length: 2,
			header: http.Header{"Content-Length": {"2"}}},
		{name: "field values", answer: "HTTP/1.1 200 OK\r\nA:\t x\t y \r\na:\r\nB: \xe4\r\nContent-Length: 0\r\n\r\n", status: 200, reason: "OK",
			header: http.Header{"A": {"x\t y", ""}, "B": {"\xe4"}, "Content-Length": {"0"}}, reused: true},
		{name: "hop by hop fields", answer: "HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n" +
			"Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n", status: 200, reason: "OK",
			header: http.Header{"Content-Length": {"0"}}, reused: true},
		{name: "most fields", answer: "HTTP/1.1 200 OK\r\n" + many(maxFields-1) + "Content-Length: 0\r\n\r\n", status: 200, reason: "OK",
			header: http.Header{"A": strings.Split(strings.Repeat("b ", maxFields-2)+"b", " "), "Content-Length": {"0"}}, reused: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) {
				if l.request() != nil {
					l.say(tc.answer)
				}
				if tc.reused {
					l.drain()
				}
			}, func(l *lab) {
				r := get()
				if tc.method != "" {
					r.Method = tc.method
				}
				resp := l.mustDo(r, tc.status, tc.body)
				if d := cmp.Diff(tc.header, resp.Header); d != "" {
					t.Errorf("header: %s", d)
				}
				if d := cmp.Diff(tc.trailer, resp.Trailer); d != "" {
					t.Errorf("trailer: %s", d)
				}
				if resp.ContentLength != tc.length || resp.Reason != tc.reason {
					t.Errorf("length %d, reason %q; want %d, %q", resp.ContentLength, resp.Reason, tc.length, tc.reason)
				}
				if got := l.pool.Idle() == 1; got != tc.reused {
					t.Errorf("connection kept: %v, want %v", got, tc.reused)
				}
			})
		})
	}
}

func TestBadAnswers(t *testing.T) {
	head := "HTTP/1.1 200 OK" + crlf
	chunks := head + "Transfer-Encoding: chunked" + crlf + crlf
	for _, tc := range []struct{ name, answer, reason string }{
		{"not http", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "status line is not HTTP/1.0 or 1.1"},
		{"http 2", "HTTP/2.0 200 OK\r\n\r\n", "status line is not HTTP/1.0 or 1.1"},
		{"leading empty line", crlf + ok2, "status line is not HTTP/1.0 or 1.1"},
		{"status letters", "HTTP/1.1 2x0 OK\r\n\r\n", "status is not three digits"},
		{"status too low", "HTTP/1.1 099 Low\r\n\r\n", "status is out of range"},
		{"status too high", "HTTP/1.1 600 High\r\n\r\n", "status is out of range"},
		{"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "reason phrase"},
		{"control in reason", "HTTP/1.1 200 O\x00K\r\n\r\n", "reason phrase"},
		{"bare line feed", "HTTP/1.1 200 OK\nA: b\r\n\r\n", "line ends in a bare line feed"},
		{"bare line feed in the end", head + "A: b\r\n\n", "line ends in a bare line feed"},
		{"carriage return in value", head + "A: b\rc\r\n\r\n", "control character in a field value"},
		{"nul in value", head + "A: b\x00\r\n\r\n", "control character in a field value"},
		{"folded line", head + "A: b\r\n c\r\n\r\n", "folded field line"},
		{"no colon", head + "A\r\n\r\n", "field line without a colon"},
		{"space before colon", head + "A : b\r\n\r\n", "field name"},
		{"empty name", head + ": b\r\n\r\n", "field name"},
		{"too many fields", head + strings.Repeat("A: b\r\n", maxFields+1) + crlf, "too many fields"},
		{"too long", head + "A: " + strings.Repeat("x", maxHead) + crlf + crlf, "head is too long"},
		{"length with coding", head + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "content length with transfer encoding"},
		{"differing lengths", head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "differing content lengths"},
		{"list of lengths", head + "Content-Length: 2, 2\r\n\r\nok", "content length"},
		{"signed length", head + "Content-Length: +2\r\n\r\nok", "content length"},
		{"empty length", head + "Content-Length:\r\n\r\nok", "content length"},
		{"huge length", head + "Content-Length: 9999999999999999999\r\n\r\nok", "content length"},
		{"other coding", head + "Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer encoding is not chunked"},
		{"coding twice", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer encoding is not chunked"},
		{"coding in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer encoding in HTTP/1.0"},
		{"announced framing trailer", head + "Trailer: x, content-length\r\nTransfer-Encoding: chunked\r\n\r\n", "trailer announces a framing field"},
		{"unasked upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "switches protocols without being asked"},
		{"informational with a body", "HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\n", "informational answer with a body"},
		{"endless informational", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", maxInformational+1), "too many informational answers"},
		{"chunk size", chunks + "x\r\n", "chunk size"},
		{"empty chunk line", chunks + "\r\n", "chunk size"},
		{"chunk size prefix", chunks + "0x2\r\nab\r\n", "chunk extension"},
		{"chunk size padded", chunks + "2 \r\nab\r\n", "chunk extension"},
		{"chunk size huge", chunks + "1000000000000000\r\n", "chunk size is too large"},
		{"chunk line bare", chunks + "2\nab\r\n", "chunk line ends in a bare line feed"},
		{"chunk extension bare", chunks + "2;a\rb\r\nab\r\n", "chunk extension"},
		{"chunk extension long", chunks + "2;" + strings.Repeat("a", readerSize) + "\r\nab\r\n", "chunk line is too long"},
		{"chunk extensions many", chunks + strings.Repeat("1;"+strings.Repeat("a", 4000)+"\r\na\r\n", 3), "chunk extensions are too long"},
		{"chunk data too long", chunks + "2\r\nabc\r\n", "chunk is not followed by a line end"},
		{"chunk data bare", chunks + "2\r\nab\n0\r\n\r\n", "chunk is not followed by a line end"},
		{"trailer framing", chunks + "0\r\nContent-Length: 5\r\n\r\n", "framing field in the trailer"},
		{"trailer too long", chunks + "0\r\nA: " + strings.Repeat("x", maxTrailer) + "\r\n\r\n", "head is too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, func(l *link) { speaking(tc.answer)(l); l.drain() }, func(l *lab) {
				_, _, err := l.do(get())
				if got := isErr[*BadAnswerError](l.T, err); got.Reason != tc.reason {
					t.Errorf("reason %q, want %q", got.Reason, tc.reason)
				}
				if l.pool.Idle() != 0 || len(l.pool.live) != 0 {
					t.Error("the connection was kept")
				}
			})
		})
	}
}
