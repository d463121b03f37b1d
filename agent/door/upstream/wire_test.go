package upstream

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestToken(t *testing.T) {
	const want = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for c := range 256 {
		if got, want := isTokenByte(byte(c)), c < 128 && strings.ContainsRune(want, rune(c)); got != want {
			t.Errorf("%#x: %v, want %v", c, got, want)
		}
	}
}

func TestCleanHeader(t *testing.T) {
	for _, tc := range []struct {
		name     string
		in, want http.Header
	}{
		{"end to end", http.Header{"Cookie": {"a"}, "Content-Length": {"2"}, "Trailer": {"x"}},
			http.Header{"Cookie": {"a"}, "Content-Length": {"2"}, "Trailer": {"x"}}},
		{"fixed", http.Header{"Keep-Alive": {"a"}, "Proxy-Connection": {"a"}, "Transfer-Encoding": {"a"}, "Upgrade": {"a"},
			"Proxy-Authenticate": {"a"}, "Proxy-Authorization": {"a"}, "Proxy-Authentication-Info": {"a"}}, http.Header{}},
		{"named", http.Header{"Connection": {"close, x-one", "X-TWO,,"}, "X-One": {"1"}, "X-Two": {"2"}, "X-Three": {"3"}},
			http.Header{"X-Three": {"3"}}},
		{"te", http.Header{"Te": {"gzip"}}, http.Header{}},
		{"te trailers", http.Header{"Te": {"gzip, Trailers;q=0.5"}, "Connection": {"TE"}}, http.Header{"Te": {"trailers"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			CleanHeader(tc.in)
			if d := cmp.Diff(tc.want, tc.in); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRequestHead(t *testing.T) {
	body := strings.NewReader("x")
	for _, tc := range []struct {
		name string
		r    Request
		want string
	}{
		{"get", Request{Method: "GET", Target: "/a?b=%20c", Host: "h:80"}, "GET /a?b=%20c HTTP/1.1|Host: h:80||"},
		{"post without body", Request{Method: "POST", Target: "/"}, "POST / HTTP/1.1|Host: |Content-Length: 0||"},
		{"options", Request{Method: "OPTIONS", Target: "*", Body: http.NoBody}, "OPTIONS * HTTP/1.1|Host: ||"},
		{"sized", Request{Method: "PUT", Target: "/", Body: body, ContentLength: 1}, "PUT / HTTP/1.1|Host: |Content-Length: 1||"},
		{"chunked with trailer", Request{Method: "PUT", Target: "/", Body: body, ContentLength: -1, Header: http.Header{"Trailer": {"Sum"}}},
			"PUT / HTTP/1.1|Host: |Trailer: Sum|Transfer-Encoding: chunked||"},
		{"trailer without chunks", Request{Method: "GET", Target: "/", Header: http.Header{"Trailer": {"Sum"}}}, "GET / HTTP/1.1|Host: ||"},
		{"values in order", Request{Method: "GET", Target: "/", Header: http.Header{"A": {"1", "", "2"}}},
			"GET / HTTP/1.1|Host: |A: 1|A: |A: 2||"},
		{"te", Request{Method: "GET", Target: "/", Header: http.Header{"Te": {"trailers"}}},
			"GET / HTTP/1.1|Host: |Connection: TE|TE: trailers||"},
		{"upgrade", Request{Method: "GET", Target: "/", Upgrade: true}, "GET / HTTP/1.1|Host: |Connection: Upgrade|Upgrade: websocket||"},
		{"framing is ours", Request{Method: "GET", Target: "/", Header: http.Header{"host": {"evil"}, "content-length": {"9"},
			"TRANSFER-ENCODING": {"chunked"}, "Connection": {"x"}, "Keep-Alive": {"x"}, "Proxy-Connection": {"x"}, "upgrade": {"x"}}},
			"GET / HTTP/1.1|Host: ||"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.r.check(); err != nil {
				t.Fatal(err)
			}
			if got := strings.ReplaceAll(string(tc.r.appendHead(nil)), crlf, "|"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestBadFields(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    Request
	}{
		{"method with space", Request{Method: "GET /x", Target: "/"}},
		{"empty method", Request{Target: "/"}},
		{"connect", Request{Method: "CONNECT", Target: "/"}},
		{"absolute target", Request{Method: "GET", Target: "http://h/"}},
		{"target with space", Request{Method: "GET", Target: "/ HTTP/1.1"}},
		{"target with line end", Request{Method: "GET", Target: "/\r\nA: b"}},
		{"host with line end", Request{Method: "GET", Target: "/", Host: "h\r\nA: b"}},
		{"host with user", Request{Method: "GET", Target: "/", Host: "a@h"}},
		{"name with colon", Request{Method: "GET", Target: "/", Header: http.Header{"A:": {"b"}}}},
		{"name with line end", Request{Method: "GET", Target: "/", Header: http.Header{"A\r\nB": {"b"}}}},
		{"value with line end", Request{Method: "GET", Target: "/", Header: http.Header{"A": {"b\r\nC: d"}}}},
		{"value with line feed", Request{Method: "GET", Target: "/", Header: http.Header{"A": {"b\nC: d"}}}},
		{"value with nul", Request{Method: "GET", Target: "/", Header: http.Header{"A": {"b\x00"}}}},
		{"length without body", Request{Method: "PUT", Target: "/", ContentLength: 1}},
		{"negative length", Request{Method: "PUT", Target: "/", ContentLength: -2}},
		{"upgrade with body", Request{Method: "GET", Target: "/", Upgrade: true, Body: strings.NewReader("x"), ContentLength: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inLab(t, Config{}, answering(ok2), func(l *lab) {
				_, _, err := l.do(&tc.r)
				wantIs(l.T, err, ErrBadField)
				if l.dials.Load() != 0 {
					t.Error("the engine was called")
				}
			})
		})
	}
}

func TestBadRequestTrailer(t *testing.T) {
	inLab(t, Config{}, answering(ok2), func(l *lab) {
		_, _, err := l.do(&Request{Method: "PUT", Target: "/", Body: strings.NewReader("x"), ContentLength: -1,
			Trailer: func() http.Header { return http.Header{"A": {"b\r\nC: d"}} }})
		wantIs(l.T, err, ErrBadField)
	})
}

func TestRequestBodies(t *testing.T) {
	long := strings.Repeat("0123456789", 20_000)
	for _, tc := range []struct {
		name string
		r    Request
		want string
	}{
		{"sized", Request{Body: strings.NewReader("hello"), ContentLength: 5}, "hello"},
		{"sized, more than a buffer", Request{Body: strings.NewReader(long), ContentLength: int64(len(long))}, long},
		{"not more than its length", Request{Body: strings.NewReader("hello!"), ContentLength: 5}, "hello"},
		{"chunked", Request{Body: strings.NewReader(long), ContentLength: -1}, long},
		{"chunked in small pieces", Request{Body: io.MultiReader(strings.NewReader("a"), strings.NewReader("bc")), ContentLength: -1}, "abc"},
		{"chunked and empty", Request{Body: strings.NewReader(""), ContentLength: -1}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got string
			inLab(t, Config{}, func(l *link) {
				for r := l.request(); r != nil; r = l.request() {
					b, err := io.ReadAll(r.Body)
					if err != nil {
						t.Error(err)
					}
					if r.ContentLength != 0 {
						got = string(b)
					}
					l.say(ok2)
				}
			}, func(l *lab) {
				tc.r.Method, tc.r.Target = "POST", "/"
				l.mustDo(&tc.r, 200, "ok")
				l.mustDo(get(), 200, "ok") // the connection is fit for another
				if l.dials.Load() != 1 {
					t.Errorf("%d dials, want 1", l.dials.Load())
				}
			})
			if got != tc.want {
				t.Errorf("the engine got %d bytes, want %d", len(got), len(tc.want))
			}
		})
	}
}

func TestTrailersBothWays(t *testing.T) {
	inLab(t, Config{}, func(l *link) {
		r := l.request()
		_, _ = io.Copy(io.Discard, r.Body)
		l.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGot: " + r.Trailer.Get("Sum") + r.Trailer.Get("Host") + "\r\n\r\n")
		l.drain()
	}, func(l *lab) {
		resp := l.mustDo(&Request{Method: "PUT", Target: "/", Body: strings.NewReader("x"), ContentLength: -1,
			Header:  http.Header{"Trailer": {"Sum"}},
			Trailer: func() http.Header { return http.Header{"Sum": {"7"}, "Host": {"evil"}} }}, 200, "")
		if got := resp.Trailer.Get("Got"); got != "7" {
			t.Errorf("trailer %q, want 7", got)
		}
	})
}
