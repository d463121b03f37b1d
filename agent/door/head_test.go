package door

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What may not pass, as bytes on the wire.
func TestHeads(t *testing.T) {
	long := strings.Repeat("a", maxTargetLen)
	cases := []struct {
		name    string
		request string
		status  int
		code    string
	}{
		{"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""},
		{"HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", 200, ""},
		{"CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "method"},
		{"TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method"},
		{"absolute form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 200, ""},
		{"absolute form of another host", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_head"},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_head"},
		{"no Host", "GET / HTTP/1.1\r\n\r\n", 400, "bad_head"},
		{"empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "bad_head"},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_head"},
		{"space before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400, "bad_head"},
		{"lengths that differ", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "bad_head"},
		{"length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na", 400, "bad_head"},
		{"unknown transfer coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400, "bad_head"},
		{"NUL in a field", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400, "bad_head"},
		{"HTTP/2.0 in cleartext", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad_head"},
		{"long target", "GET /" + long + " HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target_too_long"},
		{"many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", maxHeadFields) + "\r\n", 431, "too_many_fields"},
		{"as many fields as allowed", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", maxHeadFields-1) + "\r\n", 200, ""},
		{"large head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", maxHeadBytes) + "\r\n\r\n", 431, "too_many_fields"},
		{"what is between agents", "GET /.well-known/usher/load HTTP/1.1\r\nHost: a\r\n\r\n", 404, "not_found"},
		{"the same, POST", "POST /.well-known/usher/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 404, "not_found"},
		{"websocket by POST", "POST /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400, "bad_handshake"},
		{"websocket of another version", "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 426, "websocket_version"},
		{"websocket without a key", "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", 400, "bad_handshake"},
		{"h2c is not taken up", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", 200, ""},
	}
	bubble(t, 1, func(s *site) {
		for _, c := range cases {
			a, err := s.raw(s.nodes[0], c.request)
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			if a.status != c.status || a.code != c.code {
				t.Errorf("%s: %d %q, want %d %q", c.name, a.status, a.code, c.status, c.code)
			}
			for _, f := range []string{"Upgrade", "Http2-Settings", "Connection"} {
				if a.status == 200 && a.seen.Header[f] != nil {
					t.Errorf("%s: the engine saw %s: %q", c.name, f, a.seen.Header[f])
				}
			}
		}
	})
}

func TestPrivatePaths(t *testing.T) {
	private := []string{"/engine-api/", "/Secret"}
	for p, want := range map[string]bool{
		"/.well-known/usher":            true,
		"/.well-known/usher/load":       true,
		"/.WELL-known/Usher/load":       true,
		"//.well-known//usher//load":    true,
		"/a/../.well-known/usher/load":  true,
		"/.well-known/x/../usher/load":  true,
		`/.well-known\usher\load`:       true,
		"/.well-known;v=1/usher;x/load": true,
		"/.well-known/%75sher/load":     true, // net/http has decoded once already
		"/engine-api/reload":            true,
		"/secret":                       true,
		"/secretary":                    false,
		"/.well-known/usherette":        false,
		"/.well-known/security.txt":     false,
		"/doc/.well-known/usher":        false,
		"/":                             false,
		"/usher/status":                 false,
		"/100%":                         false,
	} {
		if got := isPrivate(p, private); got != want {
			t.Errorf("isPrivate(%q) = %v", p, got)
		}
	}
}

// What a user may make an engine believe.
func TestForwardedFields(t *testing.T) {
	send := http.Header{
		"X-Forwarded-For": {"1.2.3.4"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"evil.example"},
		"X-Forwarded-User": {"admin"}, "Forwarded": {"for=1.2.3.4"}, "X-Real-Ip": {"1.2.3.4"},
		"X-Usher-Door": {"evil"}, "X-Usher-Session": {"evil"}, "X-Usher-Moved-From": {"evil"}, "X-Usher-Whatever": {"evil"},
		"X_forwarded_for": {"1.2.3.4"}, "X-Good": {"yes"}, "Keep-Alive": {"3"}, "Te": {"gzip"},
		"Connection": {"X-Forwarded-For, X-Real-Ip, X-Named, Cookie"}, "X-Named": {"hop"}, "Proxy-Authorization": {"b"},
		"Cookie": {"usher=evil; a=b"},
	}
	engine := func(from string, trusted ...string) http.Header {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr, r.Host, r.Header = from+":999", "app.example", send.Clone()
		_, rest := splitCookies(r.Header["Cookie"])
		return forwardHeader(r, identify(r, false, prefixes(trusted...)), rest)
	}
	want := http.Header{
		"X-Good": {"yes"}, "Cookie": {"a=b"}, "X-Forwarded-For": {"10.1.1.1"}, "X-Forwarded-Proto": {"http"},
		"X-Forwarded-Host": {"app.example"}, "X-Real-Ip": {"10.1.1.1"},
	}
	if diff := cmp.Diff(want, engine("10.1.1.1")); diff != "" {
		t.Errorf("from a user (-want +got):\n%s", diff)
	}
	// Connection may not take our own word away, nor a trusted proxy speak as an agent.
	want = http.Header{
		"X-Good": {"yes"}, "Cookie": {"a=b"}, "X-Forwarded-For": {"10.1.1.1"}, "X-Forwarded-Proto": {"https"},
		"X-Forwarded-Host": {"evil.example"}, "X-Real-Ip": {"1.2.3.4"}, "X-Forwarded-User": {"admin"},
		"Forwarded": {"for=1.2.3.4"}, "X_forwarded_for": {"1.2.3.4"},
	}
	if diff := cmp.Diff(want, engine("10.1.1.1", "10.1.0.0/16")); diff != "" {
		t.Errorf("from a trusted proxy that names fields as its own (-want +got):\n%s", diff)
	}
	delete(send, "Connection")
	if got := engine("10.1.1.1", "10.1.0.0/16").Get("X-Forwarded-For"); got != "1.2.3.4, 10.1.1.1" {
		t.Errorf("trusted chain: %q", got)
	}
}

func TestIdentify(t *testing.T) {
	trusted := prefixes("10.0.0.0/8", "fd00::/8")
	cases := []struct {
		name   string
		remote string
		h      http.Header
		addr   string
		secure bool
	}{
		{"user", "192.0.2.1:5", http.Header{"X-Forwarded-For": {"9.9.9.9"}, "X-Forwarded-Proto": {"https"}}, "192.0.2.1", false},
		{"proxy", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}}, "192.0.2.1", true},
		{"two proxies", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"192.0.2.1, 10.0.0.2"}}, "192.0.2.1", false},
		{"what the user wrote before", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"8.8.8.8, 192.0.2.1, 10.0.0.2"}}, "192.0.2.1", false},
		{"several lines", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"8.8.8.8", "192.0.2.1", "10.0.0.2"}}, "192.0.2.1", false},
		{"only proxies", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"10.0.0.7, 10.0.0.2"}}, "10.0.0.7", false},
		{"rubbish", "10.0.0.1:5", http.Header{"X-Forwarded-For": {"192.0.2.1, unknown"}}, "10.0.0.1", false},
		{"with ports and brackets", "[fd00::1]:5", http.Header{"X-Forwarded-For": {"[2001:db8::1]:80"}}, "2001:db8::1", false},
		{"mapped address", "[::ffff:10.0.0.1]:5", http.Header{"X-Forwarded-For": {"192.0.2.1"}}, "192.0.2.1", false},
		{"last proto counts", "10.0.0.1:5", http.Header{"X-Forwarded-Proto": {"https, http"}}, "10.0.0.1", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr, r.Header = c.remote, c.h
			got := identify(r, false, trusted)
			if got.addr.String() != c.addr || got.secure != c.secure {
				t.Errorf("%s, secure %v; want %s, %v", got.addr, got.secure, c.addr, c.secure)
			}
		})
	}
}

// An engine cannot speak as an agent, and the user sees nothing of what agents say.
func TestAnswerFields(t *testing.T) {
	bubble(t, 3, func(s *site) {
		s.change(func(c *Settings) { c.ShowNode = true })
		b, owner := s.bound()
		defer b.leaveConnections()
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set(fieldRefused, "ended")
			h.Set(fieldError, "lies")
			h.Set(fieldNode, "elsewhere")
			h.Set("X-Usher-Secret", "x")
			h.Set("Set-Cookie", "theirs=1")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		for _, at := range []*node{s.nodes[0], owner} {
			a := b.get(at, "/")
			if a.status != http.StatusServiceUnavailable || a.code != "" || a.header.Get(fieldNode) != owner.name || a.header.Get("Set-Cookie") != "theirs=1" {
				t.Errorf("at %s: %d %v", at.name, a.status, a.header)
			}
			for name := range a.header {
				if strings.HasPrefix(name, usherPrefix) && name != fieldNode {
					t.Errorf("at %s the user sees %s", at.name, name)
				}
			}
		}
		if _, there := b.cookies[cookieName]; !there {
			t.Error("the session was taken for ended")
		}
	})
}
