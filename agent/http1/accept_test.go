package http1

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestAccepted(t *testing.T) {
	const host = "Host: a\r\n"
	plain := seen{Method: "GET", Target: "/", Path: "/", Host: "a", Minor: 1, Length: -1, KeepAlive: true}
	cases := []struct {
		name, in string
		change   func(*seen)
	}{
		{"plain", get + "\r\n", func(*seen) {}},
		{"empty line first", "\r\n" + get + "\r\n", func(*seen) {}},
		{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", func(s *seen) { s.Minor, s.Host, s.KeepAlive = 0, "", false }},
		{"HTTP/1.0 that stays", "GET / HTTP/1.0\r\n" + host + "Connection: Keep-Alive\r\n\r\n", func(s *seen) { s.Minor = 0 }},
		{"HTTP/1.0 that contradicts itself", "GET / HTTP/1.0\r\n" + host + "Connection: keep-alive, close\r\n\r\n", func(s *seen) { s.Minor, s.KeepAlive = 0, false }},
		{"close", get + "Connection: x,\tClose ,y\r\n\r\n", func(s *seen) { s.KeepAlive = false }},
		{"close in a second line", get + "Connection: keep-alive\r\nConnection: close\r\n\r\n", func(s *seen) { s.KeepAlive = false }},
		{"closer", get + "Connection: closer\r\n\r\n", func(*seen) {}},
		{"method of a kind", "g!t / HTTP/1.1\r\n" + host + "\r\n", func(s *seen) { s.Method = "g!t" }},
		{"longest method", strings.Repeat("M", 32) + " / HTTP/1.1\r\n" + host + "\r\n", func(s *seen) { s.Method = strings.Repeat("M", 32) }},
		{"query", "GET /a%20b/..;/c?d=%&e|?f HTTP/1.1\r\n" + host + "\r\n", func(s *seen) {
			s.Path, s.Query, s.Q0, s.Target = "/a%20b/..;/c", "d=%&e|?f", true, "/a%20b/..;/c?d=%&e|?f"
		}},
		{"empty query", "GET /? HTTP/1.1\r\n" + host + "\r\n", func(s *seen) { s.Target, s.Q0 = "/?", true }},
		{"two slashes", "GET //b/ HTTP/1.1\r\n" + host + "\r\n", func(s *seen) { s.Path, s.Target = "//b/", "//b/" }},
		{"longest target", "GET /" + strings.Repeat("a", 8<<10-1) + " HTTP/1.1\r\n" + host + "\r\n", func(s *seen) {
			s.Path = "/" + strings.Repeat("a", 8<<10-1)
			s.Target = s.Path
		}},
		{"absolute-form", "GET HTTP://A:80/b?c HTTP/1.1\r\nHost: a:80\r\n\r\n", func(s *seen) {
			s.Path, s.Query, s.Q0, s.Target, s.Host, s.Scheme = "/b", "c", true, "/b?c", "a:80", "HTTP"
		}},
		{"absolute-form without a path", "GET https://a HTTP/1.1\r\n" + host + "\r\n", func(s *seen) { s.Scheme = "https" }},
		{"absolute-form with a query only", "GET http://a?b=/c HTTP/1.1\r\n" + host + "\r\n", func(s *seen) {
			s.Scheme, s.Query, s.Q0, s.Target = "http", "b=/c", true, "/?b=/c"
		}},
		{"IPv6", "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:65535\r\n\r\n", func(s *seen) { s.Host = "[2001:DB8::1]:65535" }},
		{"name with all that may be in one", "GET / HTTP/1.1\r\nHost: \t a_b-C.~9: \r\n\r\n", func(s *seen) { s.Host = "a_b-C.~9:" }},
		{"length", post + "Content-Length: 0042\r\n\r\n", func(s *seen) { s.Method, s.Length = "POST", 42 }},
		{"largest length", post + "Content-Length: 9223372036854775807\r\n\r\n", func(s *seen) { s.Method, s.Length = "POST", 1<<63-1 }},
		{"length of zero with an expectation", post + "Content-Length: 0\r\nExpect: 100-continue\r\n\r\n", func(s *seen) { s.Method, s.Length = "POST", 0 }},
		{"chunked", post + "tRANSFER-eNCODING:CHUNKED \r\n\r\n", func(s *seen) { s.Method, s.Chunked = "POST", true }},
		{"expectation", post + "Content-Length: 1\r\nExpect: 100-Continue\r\n\r\n", func(s *seen) { s.Method, s.Length, s.Continue = "POST", 1, true }},
		{"expectation in HTTP/1.0", "POST / HTTP/1.0\r\n" + host + "Content-Length: 1\r\nExpect: 100-continue\r\n\r\n", func(s *seen) {
			s.Method, s.Length, s.Minor, s.KeepAlive = "POST", 1, 0, false
		}},
		{"websocket", get + "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n", func(s *seen) { s.WebSocket = true }},
		{"websocket that Connection does not name", get + "Upgrade: websocket\r\n\r\n", func(*seen) {}},
		{"websocket in HTTP/1.0", "GET / HTTP/1.0\r\n" + host + "Connection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n", func(s *seen) { s.Minor = 0 }},
		{"h2c", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n", func(*seen) {}},
		{"as many fields as allowed", get + strings.Repeat("X: y\r\n", 99) + "\r\n", func(*seen) {}},
		{"largest head", get + "X: " + strings.Repeat("y", 32<<10-len(get+"X: \r\n\r\n")) + "\r\n\r\n", func(*seen) {}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseRequest(t, c.in, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			want := plain
			c.change(&want)
			want.N = len(c.in)
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(seen{}, "Fields")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFields(t *testing.T) {
	const in = "GET / HTTP/1.1\r\nHost:a\r\nX-Empty:\r\nX-Blank: \t \r\nCOOKIE: \t a=b; c=\"d \te\" \t\r\ncookie: \xffz\r\nX:::\r\n\r\n"
	var r Request
	if n, err := r.Parse([]byte(in), Limits{}); n != len(in) || err != nil {
		t.Fatal(n, err)
	}
	want := [][2]string{{"Host", "a"}, {"X-Empty", ""}, {"X-Blank", ""}, {"COOKIE", "a=b; c=\"d \te\""}, {"cookie", "\xffz"}, {"X", "::"}}
	if diff := cmp.Diff(want, pairs(&r.Fields)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if v, ok := r.Get("cookie"); !ok || string(v) != "a=b; c=\"d \te\"" {
		t.Errorf("Get: %q, %v", v, ok)
	}
	if i := r.Find("cookie", 4); i != 4 || r.Find("cookie", 5) != -1 {
		t.Errorf("Find: %d", i)
	}
	if v, ok := r.Get("x-empty"); !ok || len(v) != 0 {
		t.Errorf("an empty value: %q, %v", v, ok)
	}
	if _, ok := r.Get("cooki"); ok {
		t.Error("a name that is not there was found")
	}
	if v := r.Value(0); cap(v) != len(v) || cap(r.Path) != len(r.Path) || cap(r.Name(0)) != 4 {
		t.Error("to append to a slice would write into the buffer")
	}
}

func TestHop(t *testing.T) {
	const in = get + "Connection: close, X-Named,,\r\nKeep-Alive: 3\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Connection: x\r\n" +
		"Transfer-Encoding: chunked\r\nx-named: y\r\nx-name: y\r\nX-Second: y\r\nTrailer: x\r\nconnection: x-second\r\n\r\n"
	var r Request
	if _, err := r.Parse([]byte(in), Limits{}); err != nil {
		t.Fatal(err)
	}
	var kept []string
	for i := range r.Len() {
		if !r.Hop(i) {
			kept = append(kept, string(r.Name(i)))
		}
	}
	if diff := cmp.Diff([]string{"Host", "x-name", "Trailer"}, kept); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestLimits(t *testing.T) {
	head := "GET /12 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		name   string
		l      Limits
		status int
	}{
		{"head", Limits{Head: len(head) - 1}, 431},
		{"head that fits", Limits{Head: len(head)}, 0},
		{"target", Limits{Target: 2}, 414},
		{"target that fits", Limits{Target: 3}, 0},
		{"fields", Limits{Fields: 1}, 431},
		{"fields that fit", Limits{Fields: 2}, 0},
		{"more than can be", Limits{Head: 1 << 30, Target: 1 << 30, Fields: 1 << 30}, 0},
	} {
		_, err := parseRequest(t, head, c.l)
		if c.status == 0 && err != nil || c.status != 0 && (err == nil || err.Status != c.status) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := parseRequest(t, get+"X: "+strings.Repeat("y", 1<<17), Limits{Head: 1 << 30}); err == nil || err.Status != 431 {
		t.Errorf("a head that no offset reaches: %v", err)
	}
}
