package http1

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type answer struct {
	Status               int
	Reason               string
	Minor                uint8
	Length               int64
	KeepAlive, WebSocket bool
	Framing              Framing
	Fields               [][2]string
}

// parseResponse parses at once and byte by byte, as parseRequest does.
func parseResponse(t testing.TB, in, method string) (answer, int, *Error) {
	t.Helper()
	read := func(r *Response, n int) answer {
		if n == 0 {
			return answer{}
		}
		return answer{r.Status, string(r.Reason), r.Minor, r.ContentLength, r.KeepAlive, r.WebSocket, r.Framing([]byte(method)), pairs(&r.Fields)}
	}
	var whole, bytewise Response
	n, err := whole.Parse([]byte(in), Limits{})
	want := read(&whole, n)
	var got answer
	var err2 error
	still := []byte(in)
	for i := range len(in) + 1 {
		b := still[:i]
		if len(in) < 4096 {
			b = slices.Clone(b)
		}
		var m int
		if m, err2 = bytewise.Parse(b, Limits{}); m > 0 || err2 != nil {
			got = read(&bytewise, m)
			break
		}
	}
	if diff := cmp.Diff(want, got) + cmp.Diff(asError(t, err), asError(t, err2)); diff != "" {
		t.Errorf("%q: at once and byte by byte differ:\n%s", in, diff)
	}
	return want, n, asError(t, err)
}

func TestResponse(t *testing.T) { // RFC 9112 4, 6.3, 9.3
	const cl, te, ws = "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	sized, chunked, untilClose := Framing{Sized, 5}, Framing{Kind: Chunked}, Framing{Kind: UntilClose}
	cases := []struct {
		name, method, in string
		want             answer
	}{
		{"sized", "GET", "HTTP/1.1 200 OK\r\n" + cl + "\r\n", answer{200, "OK", 1, 5, true, false, sized, nil}},
		{"chunked", "GET", "HTTP/1.1 404 Not\tFound \xff\r\n" + te + "\r\n", answer{404, "Not\tFound \xff", 1, -1, true, false, chunked, nil}},
		{"until close", "GET", "HTTP/1.1 200 OK\r\n\r\n", answer{200, "OK", 1, -1, true, false, untilClose, nil}},
		{"empty", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", answer{200, "OK", 1, 0, true, false, Framing{}, nil}},
		{"empty reason", "GET", "HTTP/1.1 200 \r\n" + cl + "\r\n", answer{200, "", 1, 5, true, false, sized, nil}},
		{"no reason and no space", "GET", "HTTP/1.1 200\r\n" + cl + "\r\n", answer{200, "", 1, 5, true, false, sized, nil}},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\n" + cl + "\r\n", answer{200, "OK", 1, 5, true, false, Framing{}, nil}},
		{"HEAD, chunked", "HEAD", "HTTP/1.1 200 OK\r\n" + te + "\r\n", answer{200, "OK", 1, -1, true, false, Framing{}, nil}},
		{"HEAD without a length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", answer{200, "OK", 1, -1, true, false, Framing{}, nil}},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\n" + cl + "\r\n", answer{304, "Not Modified", 1, 5, true, false, Framing{}, nil}},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", answer{204, "No Content", 1, -1, true, false, Framing{}, nil}},
		{"204 that lies", "GET", "HTTP/1.1 204 No Content\r\n" + cl + "\r\n", answer{204, "No Content", 1, 5, false, false, Framing{}, nil}},
		{"100", "POST", "HTTP/1.1 100 Continue\r\n\r\n", answer{100, "Continue", 1, -1, true, false, Framing{}, nil}},
		{"103 with fields", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", answer{103, "Early Hints", 1, -1, true, false, Framing{}, nil}},
		{"websocket", "GET", "HTTP/1.1 101 Switching Protocols\r\n" + ws + "\r\n", answer{101, "Switching Protocols", 1, -1, true, true, Framing{}, nil}},
		{"101 to something else", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", answer{101, "Switching Protocols", 1, -1, true, false, Framing{}, nil}},
		{"200 that names websocket", "GET", "HTTP/1.1 200 OK\r\n" + ws + cl + "\r\n", answer{200, "OK", 1, 5, true, false, sized, nil}},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n" + cl + "\r\n", answer{200, "OK", 1, 5, false, false, sized, nil}},
		{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n" + cl + "\r\n", answer{200, "OK", 0, 5, false, false, sized, nil}},
		{"HTTP/1.0 that stays", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + cl + "\r\n", answer{200, "OK", 0, 5, true, false, sized, nil}},
		{"equal lengths", "GET", "HTTP/1.1 200 OK\r\n" + cl + cl + "\r\n", answer{200, "OK", 1, 5, true, false, sized, nil}},
		{"obs-text", "GET", "HTTP/1.1 200 OK\r\nX: \xe4\xff\r\n" + cl + "\r\n", answer{200, "OK", 1, 5, true, false, sized, nil}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, n, err := parseResponse(t, c.in, c.method)
			if err != nil || n != len(c.in) {
				t.Fatal(n, err)
			}
			got.Fields = nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestResponseRefused(t *testing.T) {
	const ok, where = "HTTP/1.1 200 OK\r\n", "no status where one should be"
	for _, c := range []struct{ name, in, reason string }{
		{"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", "version is neither HTTP/1.0 nor HTTP/1.1"},
		{"no version", "200 OK\r\n\r\n", "status line has no version where one should be"},
		{"ICY", "ICY 200 OK\r\n\r\n", "status line has no version where one should be"},
		{"empty line first", "\r\n" + ok + "\r\n", "status line has no version where one should be"},
		{"two digits", "HTTP/1.1 20 OK\r\n\r\n", where},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", where},
		{"letters", "HTTP/1.1 2x0 OK\r\n\r\n", where},
		{"099", "HTTP/1.1 099 OK\r\n\r\n", where},
		{"600", "HTTP/1.1 600 OK\r\n\r\n", where},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", where},
		{"tab", "HTTP/1.1\t200 OK\r\n\r\n", where},
		{"bare LF", "HTTP/1.1 200 OK\n\n", "bare LF in a reason phrase"},
		{"bare LF without a reason", "HTTP/1.1 200\n\n", where},
		{"bare CR", "HTTP/1.1 200 OK\rX: y\r\n\r\n", "bare CR in the status line"},
		{"bare CR without a reason", "HTTP/1.1 200\rX: y\r\n\r\n", "bare CR in the status line"},
		{"NUL", "HTTP/1.1 200 O\x00K\r\n\r\n", "NUL in a reason phrase"},
		{"folded", ok + "X: y\r\n z\r\n\r\n", "folded line"},
		{"space before the colon", ok + "Content-Length : 5\r\n\r\n", "white space in or after a field name"},
		{"differing lengths", ok + "Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "Content-Lengths differ"},
		{"differing lengths in the middle", ok + "Content-Length: 5\r\nContent-Length: 6\r\nContent-Length: 5\r\n\r\n", "Content-Lengths differ"},
		{"negative length", ok + "Content-Length: -1\r\n\r\n", "Content-Length is not a number"},
		{"length too large", ok + "Content-Length: 9223372036854775808\r\n\r\n", "Content-Length is too large"},
		{"length and chunked", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding with Content-Length"},
		{"chunked in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in HTTP/1.0"},
		{"gzip", ok + "Transfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding is not exactly chunked"},
		{"gzip, chunked", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "Transfer-Encoding is not known here"},
		{"100 with a length", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", "interim response with a body"},
		{"101 that is chunked", "HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n\r\n", "interim response with a body"},
		{"many fields", ok + strings.Repeat("X: y\r\n", 101) + "\r\n", "too many fields"},
		{"large", ok + "X: " + strings.Repeat("y", 32<<10) + "\r\n\r\n", "the head is too large"},
		{"endless reason", "HTTP/1.1 200 " + strings.Repeat("y", 33<<10), "the head is too large"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := parseResponse(t, c.in, "GET")
			if err == nil || err.Status != 502 || err.Reason != c.reason {
				t.Errorf("%+v, want %s", err, c.reason)
			}
		})
	}
}
