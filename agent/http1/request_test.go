package http1

import (
	"strings"
	"testing"
)

// refusal is what must not pass, as bytes on the wire.
type refusal struct {
	name, in string
	status   int
	reason   string
}

const (
	get  = "GET / HTTP/1.1\r\nHost: a\r\n"
	post = "POST / HTTP/1.1\r\nHost: a\r\n"
)

func refuse(t *testing.T, cases []refusal) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseRequest(t, c.in, Limits{})
			switch {
			case err == nil:
				t.Errorf("%q was taken: %+v", c.in, got)
			case err.Status != c.status || err.Reason != c.reason:
				t.Errorf("%d %s, want %d %s", err.Status, err, c.status, c.reason)
			case err.Offset < 0 || err.Offset > int64(len(c.in)):
				t.Errorf("at %d of %d bytes", err.Offset, len(c.in))
			}
		})
	}
}

func TestRequestLine(t *testing.T) { // RFC 9112 2.2, 2.3, 3
	noVersion, fragment := "request line has no version where one should be", "fragment in a target"
	refuse(t, []refusal{
		{"HTTP/0.9", "GET /\r\n\r\n", 400, "request line without a version"},
		{"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version is neither HTTP/1.0 nor HTTP/1.1"},
		{"HTTP/0.9 by name", "GET / HTTP/0.9\r\n\r\n", 505, "version is neither HTTP/1.0 nor HTTP/1.1"},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version is neither HTTP/1.0 nor HTTP/1.1"},
		{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version is neither HTTP/1.0 nor HTTP/1.1"},
		{"HTTP/1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400, "request line does not end after the version"},
		{"HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400, noVersion},
		{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400, noVersion},
		{"no version", "GET / \r\nHost: a\r\n\r\n", 400, noVersion},
		{"four words", "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400, "request line does not end after the version"},
		{"space at the end", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "request line does not end after the version"},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "no target where one should be"},
		{"two spaces later", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, noVersion},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, noVersion},
		{"tabs", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a method"},
		{"space first", " GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line does not begin with a method"},
		{"two empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line does not begin with a method"},
		{"bare LF first", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line does not begin with a method"},
		{"bare CR first", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bare CR before the request line"},
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400, "bare LF in the request line"},
		{"bare CR", "GET / HTTP/1.1\rHost: a\r\n\r\n", 400, "bare CR in the request line"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "request line does not begin with a method"},
		{"NUL in the method", "GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a method"},
		{"no token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a method"},
		{"long method", strings.Repeat("M", 33) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method is not known here"},
		{"endless method", strings.Repeat("M", 40000), 501, "method is not known here"},
		{"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "method is not allowed"},
		{"CONNECT in origin-form", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method is not allowed"},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method is not allowed"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target does not begin with a slash"},
		{"authority-form", "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400, "target does not begin with a slash"},
		{"relative", "GET a/b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target does not begin with a slash"},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target does not begin with a slash"},
		{"scheme and one slash", "GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target does not begin with a slash"},
		{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, fragment},
		{"fragment in the query", "GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400, fragment},
		{"fragment after an authority", "GET http://a#b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, fragment},
		{"NUL in the target", "GET /a\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a target"},
		{"DEL in the target", "GET /a\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a target"},
		{"raw UTF-8", "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "character that is not allowed in a target"},
		{"bare LF in the target", "GET /a\nHTTP/1.1\r\nHost: a\r\n\r\n", 400, "request line without a version"},
		{"percent at the end", "GET /a% HTTP/1.1\r\nHost: a\r\n\r\n", 400, "broken percent-encoding in a path"},
		{"percent and one digit", "GET /a%4?b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "broken percent-encoding in a path"},
		{"percent and no digits", "GET /%20%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400, "broken percent-encoding in a path"},
		{"long target", "GET /" + strings.Repeat("a", 8<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target is too long"},
		{"endless target", "GET /" + strings.Repeat("a", 40000), 414, "target is too long"},
	})
}

func TestHost(t *testing.T) { // RFC 9112 3.2, RFC 9110 4.2, 7.2
	form := "Host is not a host with an optional port"
	with := func(h string) string { return "GET / HTTP/1.1\r\n" + h + "\r\n\r\n" }
	refuse(t, []refusal{
		{"missing", "GET / HTTP/1.1\r\nX: a\r\n\r\n", 400, "Host is missing"},
		{"no fields", "GET / HTTP/1.1\r\n\r\n", 400, "Host is missing"},
		{"repeated", with("Host: a\r\nHost: b"), 400, "Host is repeated"},
		{"repeated, the same", with("Host: a\r\nhOST: a"), 400, "Host is repeated"},
		{"repeated in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400, "Host is repeated"},
		{"empty", with("Host:"), 400, form},
		{"blank", with("Host:  \t "), 400, form},
		{"userinfo", with("Host: u@a"), 400, form},
		{"userinfo with a password", with("Host: u:p@a"), 400, form},
		{"list", with("Host: a, b"), 400, form},
		{"space", with("Host: a b"), 400, form},
		{"path", with("Host: a/b"), 400, form},
		{"backslash", with(`Host: a\b`), 400, form},
		{"query", with("Host: a?b"), 400, form},
		{"URL", with("Host: http://a"), 400, form},
		{"percent", with("Host: %61"), 400, form},
		{"not ASCII", with("Host: \xc3\xa4"), 400, form},
		{"port alone", with("Host: :80"), 400, form},
		{"port of letters", with("Host: a:b"), 400, form},
		{"port with a sign", with("Host: a:+80"), 400, form},
		{"port too large", with("Host: a:65536"), 400, form},
		{"two ports", with("Host: a:80:80"), 400, form},
		{"IPv6 without brackets", with("Host: ::1"), 400, form},
		{"open bracket", with("Host: [::1"), 400, form},
		{"bracketed name", with("Host: [a]"), 400, form},
		{"bracketed IPv4", with("Host: [127.0.0.1]"), 400, form},
		{"zone", with("Host: [fe80::1%25eth0]"), 400, form},
		{"behind the bracket", with("Host: [::1]x"), 400, form},
		{"absolute-form of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target names another host than Host"},
		{"absolute-form with another port", "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target names another host than Host"},
		{"absolute-form with userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target names another host than Host"},
		{"absolute-form without authority", "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target names another host than Host"},
		{"absolute-form without Host", "GET http://a/ HTTP/1.0\r\n\r\n", 400, "target in absolute-form without Host"},
		{"absolute-form and the Host missing", "GET http://a/ HTTP/1.1\r\n\r\n", 400, "Host is missing"},
	})
}

func TestFieldLines(t *testing.T) { // RFC 9112 2.2, 5, RFC 9110 5.5, 5.6.2
	space := "white space in or after a field name"
	refuse(t, []refusal{
		{"space before the colon", get + "X : y\r\n\r\n", 400, space},
		{"tab before the colon", get + "X\t: y\r\n\r\n", 400, space},
		{"space in a name", get + "X Y: z\r\n\r\n", 400, space},
		{"folded", get + "X: y\r\n z\r\n\r\n", 400, "folded line"},
		{"folded with a tab", get + "X: y\r\n\tz\r\n\r\n", 400, "folded line"},
		{"space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "folded line"},
		{"line of a space", get + " \r\n\r\n", 400, "folded line"},
		{"bare LF after a value", get + "X: y\nZ: z\r\n\r\n", 400, "bare LF in a field value"},
		{"bare LF for the empty line", get + "X: y\r\n\n", 400, "bare LF in place of a field name"},
		{"bare CR in a value", get + "X: y\rz\r\n\r\n", 400, "bare CR in a field value"},
		{"two CRs", get + "X: y\r\r\n\r\n", 400, "bare CR in a field value"},
		{"bare CR for the empty line", get + "\rX: y\r\n\r\n", 400, "bare CR at the beginning of a field line"},
		{"NUL in a value", get + "X: y\x00z\r\n\r\n", 400, "NUL in a field value"},
		{"NUL in a name", get + "X\x00: y\r\n\r\n", 400, "character that is not allowed in a field name"},
		{"vertical tab", get + "X: \vy\r\n\r\n", 400, "control character in a field value"},
		{"DEL", get + "X: y\x7f\r\n\r\n", 400, "control character in a field value"},
		{"no name", get + ": y\r\n\r\n", 400, "field without a name"},
		{"no colon", get + "X\r\n\r\n", 400, "character that is not allowed in a field name"},
		{"not ASCII in a name", get + "X\xc3\xa4: y\r\n\r\n", 400, "character that is not allowed in a field name"},
		{"parenthesis in a name", get + "X(): y\r\n\r\n", 400, "character that is not allowed in a field name"},
		{"too many", get + strings.Repeat("X: y\r\n", 100) + "\r\n", 431, "too many fields"},
		{"large", get + "X: " + strings.Repeat("y", 32<<10) + "\r\n\r\n", 431, "the head is too large"},
		{"large for a byte", get + "X: " + strings.Repeat("y", 32<<10-len(get+"X: \r\n\r\n")+1) + "\r\n\r\n", 431, "the head is too large"},
		{"endless", get + "X: " + strings.Repeat("y", 64<<10), 431, "the head is too large"},
	})
}

func TestRequestFraming(t *testing.T) { // RFC 9112 6, RFC 9110 8.6, 10.1.1
	number, exactly, both := "Content-Length is not a number", "Transfer-Encoding is not exactly chunked", "Transfer-Encoding with Content-Length"
	refuse(t, []refusal{
		{"CL.TE", post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400, both},
		{"TE.CL", post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST", 400, both},
		{"CL.0 and TE", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, both},
		{"TE.TE", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n", 400, "Transfer-Encoding is repeated"},
		{"TE twice the same", post + "Transfer-Encoding: chunked\r\nTransfer-encoding: chunked\r\n\r\n", 400, "Transfer-Encoding is repeated"},
		{"TE xchunked", post + "Transfer-Encoding: xchunked\r\n\r\n", 400, exactly},
		{"TE chunked, chunked", post + "Transfer-Encoding: chunked, chunked\r\n\r\n", 400, exactly},
		{"TE chunked, identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n", 400, exactly},
		{"TE gzip, chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501, "Transfer-Encoding is not known here"},
		{"TE chunked with a parameter", post + "Transfer-Encoding: chunked;q=1\r\n\r\n", 400, exactly},
		{"TE quoted", post + "Transfer-Encoding: \"chunked\"\r\n\r\n", 400, exactly},
		{"TE comma first", post + "Transfer-Encoding: ,chunked\r\n\r\n", 400, exactly},
		{"TE empty", post + "Transfer-Encoding:\r\n\r\n", 400, exactly},
		{"TE with a vertical tab", post + "Transfer-Encoding: \vchunked\r\n\r\n", 400, "control character in a field value"},
		{"TE with a high byte", post + "Transfer-Encoding: \xa0chunked\r\n\r\n", 400, exactly},
		{"TE folded", post + "Transfer-Encoding:\r\n chunked\r\n\r\n", 400, "folded line"},
		{"TE space before the colon", post + "Transfer-Encoding : chunked\r\n\r\n", 400, "white space in or after a field name"},
		{"TE identity", post + "Transfer-Encoding: identity\r\n\r\n", 400, "Transfer-Encoding is not exactly chunked"},
		{"TE gzip", post + "Transfer-Encoding: gzip\r\n\r\n", 400, "Transfer-Encoding is not exactly chunked"},
		{"TE in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "Transfer-Encoding in HTTP/1.0"},
		{"CL twice", post + "Content-Length: 4\r\nContent-Length: 5\r\n\r\n", 400, "Content-Length is repeated"},
		{"CL twice the same", post + "Content-Length: 4\r\ncontent-length: 4\r\n\r\n", 400, "Content-Length is repeated"},
		{"CL list", post + "Content-Length: 4, 4\r\n\r\n", 400, number},
		{"CL plus", post + "Content-Length: +4\r\n\r\n", 400, number},
		{"CL minus", post + "Content-Length: -4\r\n\r\n", 400, number},
		{"CL hexadecimal", post + "Content-Length: 0x4\r\n\r\n", 400, number},
		{"CL with a dot", post + "Content-Length: 4.0\r\n\r\n", 400, number},
		{"CL with an exponent", post + "Content-Length: 1e3\r\n\r\n", 400, number},
		{"CL with an underscore", post + "Content-Length: 1_0\r\n\r\n", 400, number},
		{"CL with a space", post + "Content-Length: 4 2\r\n\r\n", 400, number},
		{"CL empty", post + "Content-Length:\r\n\r\n", 400, "Content-Length is empty"},
		{"CL of 2^63", post + "Content-Length: 9223372036854775808\r\n\r\n", 413, "Content-Length is too large"},
		{"CL of 2^64", post + "Content-Length: 18446744073709551616\r\n\r\n", 413, "Content-Length is too large"},
		{"CL of many digits", post + "Content-Length: " + strings.Repeat("9", 100) + "\r\n\r\n", 413, "Content-Length is too large"},
		{"CL of many digits and a letter", post + "Content-Length: " + strings.Repeat("9", 100) + "x\r\n\r\n", 400, number},
		{"Trailer of a length", post + "Transfer-Encoding: chunked\r\nTrailer: X, Content-Length\r\n\r\n", 400, "Trailer announces a field of framing"},
		{"Trailer of a coding, in a second line", post + "Transfer-Encoding: chunked\r\nTrailer: X\r\nTrailer: transfer-encoding\r\n\r\n", 400, "Trailer announces a field of framing"},
		{"Expect", post + "Content-Length: 4\r\nExpect: the worst\r\n\r\n", 417, "Expect is not 100-continue"},
		{"Expect more", post + "Content-Length: 4\r\nExpect: 100-continue\r\nExpect: more\r\n\r\n", 417, "Expect is not 100-continue"},
		{"Expect a list", post + "Content-Length: 4\r\nExpect: 100-continue, x\r\n\r\n", 417, "Expect is not 100-continue"},
	})
}
