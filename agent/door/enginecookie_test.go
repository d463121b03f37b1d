package door

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	tagA = "~00112233445566aa"
	tagB = "~ffeeddccbbaa9988"
)

func TestEngineSeesItsSessionsCookies(t *testing.T) {
	long := strings.Repeat("v", 5000)
	cases := []struct {
		name     string
		in, want []string
	}{
		{"none", nil, nil},
		{"nothing of ours", []string{"theme=dark; lang=en", "x=y"}, []string{"theme=dark; lang=en", "x=y"}},
		{"own", []string{"sid" + tagA + "=1; theme=dark"}, []string{"sid=1; theme=dark"}},
		{"that of another session", []string{"sid" + tagB + "=2"}, nil},
		{"both", []string{"a=1; sid" + tagB + "=2; sid" + tagA + "=1; b=2"}, []string{"a=1; sid=1; b=2"}},
		{"own hides one without, wherever it stands", []string{"sid=evil; x=y", "sid" + tagA + "=1; sid=evil"}, []string{"x=y", "sid=1"}},
		{"one without is all there is", []string{"sid=old; sid" + tagB + "=2"}, []string{"sid=old"}},
		{"of two paths, in order", []string{"sid" + tagA + "=deep; sid" + tagA + "=root"}, []string{"sid=deep; sid=root"}},
		{"prefix", []string{"__Host-sid" + tagA + "=1; __Secure-x" + tagB + "=2"}, []string{"__Host-sid=1"}},
		{"values are not touched", []string{`sid` + tagA + `= "a=b c" ; j={"x":1}`}, []string{`sid= "a=b c" ; j={"x":1}`}},
		{"long", []string{"sid" + tagA + "=" + long}, []string{"sid=" + long}},
		{"no tag: too short, upper case, not hexadecimal, no name", []string{"a~1=1; a" + strings.ToUpper(tagA) + "=2; a~00112233445566ag=3; " + tagA + "=4"},
			[]string{"a~1=1; a" + strings.ToUpper(tagA) + "=2; a~00112233445566ag=3; " + tagA + "=4"}},
		{"two tags: the last one is ours", []string{"sid" + tagB + tagA + "=1; sid" + tagA + tagB + "=2"}, []string{"sid" + tagB + "=1"}},
		{"no equals sign", []string{"odd; sid" + tagB}, []string{"odd"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := slices.Clone(c.in)
			h := http.Header{"Cookie": c.in}
			readCookies(c.in, tagA).restore(h)
			if diff := cmp.Diff(c.want, h["Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if _, there := h["Cookie"]; there && c.want == nil {
				t.Error("an empty field is left")
			}
			if diff := cmp.Diff(before, c.in); diff != "" {
				t.Errorf("the request was changed:\n%s", diff)
			}
		})
	}
}

func TestEngineSetsItsSessionsCookies(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	fits := strings.Repeat("v", maxCookieBytes-len("sid")-tagLen)
	cases := []struct {
		name, request, set string
		want               []string
	}{
		{"session cookie", "", "sid=1; Path=/; HttpOnly", []string{"sid" + tagA + "=1; Path=/; HttpOnly"}},
		{"attributes in any form", "", "sid=1;path=/ ; httponly ;SameSite=Lax", []string{"sid" + tagA + "=1;path=/ ; httponly ;SameSite=Lax"}},
		{"a narrower path", "", "sid=1; Path=/doc; HttpOnly", []string{"sid" + tagA + "=1; Path=/doc; HttpOnly"}},
		{"__Host-", "", "__Host-sid=1; Path=/; Secure; HttpOnly", []string{"__Host-sid" + tagA + "=1; Path=/; Secure; HttpOnly"}},
		{"scripts read it", "", "_xsrf=1; Path=/", []string{"_xsrf=1; Path=/"}},
		{"HttpOnly as a value", "", "x=HttpOnly; Path=/", []string{"x=HttpOnly; Path=/"}},
		{"for other servers too", "", "sso=1; Domain=example.test; HttpOnly", []string{"sso=1; Domain=example.test; HttpOnly"}},
		{"an empty Domain is none", "", "sid=1; Domain=; HttpOnly", []string{"sid" + tagA + "=1; Domain=; HttpOnly"}},
		{"an odd value", "", `sid={"a": "b=c"}; HttpOnly`, []string{"sid" + tagA + `={"a": "b=c"}; HttpOnly`}},
		{"as long as browsers take", "", "sid=" + fits + "; HttpOnly", []string{"sid" + tagA + "=" + fits + "; HttpOnly"}},
		{"too long with a tag", "", "sid=" + fits + "v; HttpOnly", []string{"sid=" + fits + "v; HttpOnly"}},
		{"no name", "", "=1; HttpOnly", []string{"=1; HttpOnly"}},
		{"no equals sign", "", "HttpOnly", []string{"HttpOnly"}},
		{"none before the attributes", "", "odd; Path=/; HttpOnly", []string{"odd; Path=/; HttpOnly"}},
		{"deleted by an engine that forgets HttpOnly", "sid" + tagA + "=1", "sid=; Max-Age=0; Path=/", []string{"sid" + tagA + "=; Max-Age=0; Path=/"}},
		{"deleted, it was another session's", "sid" + tagB + "=1", "sid=; Max-Age=0; Path=/", []string{"sid=; Max-Age=0; Path=/"}},
		{"deleted, it came without a tag: Max-Age", "sid=old", "sid=; Max-Age=0; HttpOnly", []string{"sid" + tagA + "=; Max-Age=0; HttpOnly", "sid=; Max-Age=0; HttpOnly"}},
		{"deleted, it came without a tag: Expires", "sid=old", "sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly",
			[]string{"sid" + tagA + "=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly", "sid=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly"}},
		{"deleted, it came without a tag: Expires as of old", "sid=old", "sid=; Expires=Thu, 01-Jan-1970 00:00:00 GMT; HttpOnly",
			[]string{"sid" + tagA + "=; Expires=Thu, 01-Jan-1970 00:00:00 GMT; HttpOnly", "sid=; Expires=Thu, 01-Jan-1970 00:00:00 GMT; HttpOnly"}},
		{"Max-Age goes before Expires", "sid=old", "sid=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly",
			[]string{"sid" + tagA + "=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly"}},
		{"set anew beside one without a tag", "sid=old", "sid=1; Expires=Fri, 01 Jan 2100 00:00:00 GMT; HttpOnly",
			[]string{"sid" + tagA + "=1; Expires=Fri, 01 Jan 2100 00:00:00 GMT; HttpOnly"}},
		{"a name that is another session's", "", "sid" + tagB + "=1; Path=/", []string{"sid" + tagB + tagA + "=1; Path=/"}},
		{"the same, for a domain", "", "sid" + tagB + "=1; Domain=example.test", []string{"sid" + tagB + tagA + "=1; Domain=example.test"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := http.Header{"Set-Cookie": {"a=b", c.set}}
			readCookies([]string{c.request}, tagA).rename(h, now)
			if diff := cmp.Diff(append([]string{"a=b"}, c.want...), h["Set-Cookie"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever comes, an engine sees no cookie of another session, and what it sets comes
// back to it.
func FuzzEngineCookies(f *testing.F) {
	f.Add("sid"+tagB+"=2; sid"+tagA+"=1; x=y", "sid=1; Path=/; HttpOnly")
	f.Add("sid"+tagA+tagB+"=2;;  =; "+tagB+"=", "sid"+tagB+"=1")
	f.Fuzz(func(t *testing.T, line, set string) {
		h := http.Header{}
		e := readCookies([]string{line}, tagA)
		e.restore(h)
		for _, l := range h["Cookie"] {
			for pair := range strings.SplitSeq(l, ";") {
				name, _, _ := strings.Cut(pair, "=")
				base, tag, ok := cutTag(strings.Trim(name, " \t"))
				if ok && !strings.Contains(line, base+tag+tagA) {
					t.Errorf("%q: the engine saw %q", line, pair)
				}
			}
		}
		h = http.Header{"Set-Cookie": {set}}
		e.rename(h, time.Now())
		for _, got := range h["Set-Cookie"] {
			if got == set {
				continue
			}
			pair, _, _ := strings.Cut(got, ";")
			back := readCookies([]string{pair}, tagA)
			name, rest, _ := strings.Cut(set, "=")
			value, _, _ := strings.Cut(rest, ";")
			if want := []string{strings.Trim(name, " \t") + "=" + value}; !slices.Equal(back.lines, want) {
				t.Errorf("%q was set as %q and came back as %q", set, got, back.lines)
			}
		}
	})
}

// counter is an engine that counts by a cookie of its own, as real ones do; every
// engine gives it the same name.
func counter(nd *node) http.HandlerFunc {
	counts := map[string]int{}
	return func(w http.ResponseWriter, r *http.Request) {
		nd.engine.mu.Lock()
		defer nd.engine.mu.Unlock()
		c, err := r.Cookie("sid")
		if err != nil || counts[c.Value] == 0 {
			c = &http.Cookie{Name: "sid", Value: fmt.Sprintf("%s-%d", nd.name, len(counts))}
			http.SetCookie(w, &http.Cookie{Name: c.Name, Value: c.Value, Path: "/", HttpOnly: true})
		}
		counts[c.Value]++
		if r.URL.Path == "/logout" {
			http.SetCookie(w, &http.Cookie{Name: "sid", Path: "/", MaxAge: -1})
		}
		_, _ = fmt.Fprintf(w, "%s %d %s", c.Value, counts[c.Value], r.Header.Get("Cookie"))
	}
}

// twoTabs opens documents until two of them are on different engines.
func (s *site) twoTabs(b *browser) (one, other string) {
	s.t.Helper()
	engines := map[string]string{}
	for i := range 20 {
		time.Sleep(time.Second)
		doc := fmt.Sprintf("/doc/d%d/", i)
		at, _, _ := strings.Cut(b.ok(s.nodes[i%len(s.nodes)], doc).body, "-")
		for e, d := range engines {
			if e != at {
				return d, doc
			}
		}
		engines[at] = doc
	}
	s.t.Fatal("every document went to the same engine")
	return "", ""
}

func TestTabsKeepTheirEnginesSessions(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope = ScopeDocument })
		for _, nd := range s.nodes {
			nd.engine.on(counter(nd))
		}
		b := s.browser()
		defer b.leaveConnections()
		one, other := s.twoTabs(b)
		value := map[string]string{}
		for i := range 6 {
			for j, path := range []string{one, "/style.css", other, "/style.css"} {
				doc := []string{one, one, other, other}[j] // what names no document follows the last one
				a := b.ok(s.nodes[(i+j)%2], path)
				got, rest, _ := strings.Cut(a.body, " ")
				if was := value[doc]; was != "" && got != was {
					t.Fatalf("%s: the engine forgot %s for %s", path, was, got)
				}
				value[doc] = got
				if !strings.HasSuffix(rest, " sid="+got) {
					t.Errorf("%s: the engine saw %q", path, rest)
				}
			}
		}
		for name := range b.cookies {
			if name == "sid" {
				t.Error("an engine's session cookie has no tag")
			}
		}
		// Logging out of one is not logging out of the other.
		b.ok(s.nodes[0], other)
		b.ok(s.nodes[0], "/logout")
		if got, _, _ := strings.Cut(b.ok(s.nodes[0], other).body, " "); got == value[other] {
			t.Error("the engine could not delete its cookie")
		}
		if got, _, _ := strings.Cut(b.ok(s.nodes[0], one).body, " "); got != value[one] {
			t.Error("the other tab was logged out")
		}
	})
}

// The cookie of one document's session, sent by hand with the cookie of another
// document, does not reach the other engine.
func TestCookiesOfOtherSessionsAreHeldBack(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope = ScopeDocument })
		b := s.browser()
		defer b.leaveConnections()
		for _, nd := range s.nodes {
			nd.engine.on(counter(nd))
		}
		one, other := s.twoTabs(b)
		b.ok(s.nodes[0], one)
		for _, nd := range s.nodes {
			nd.engine.on(nil)
		}
		saw := b.ok(s.nodes[0], other).seen.Header["Cookie"]
		if len(saw) != 1 || strings.Count(saw[0], "sid") != 1 || strings.ContainsRune(saw[0], tagMark) {
			t.Errorf("engine saw %q", saw)
		}
	})
}

// In browser scope engines' cookies are theirs, byte for byte.
func TestBrowserScopeTouchesNoEngineCookie(t *testing.T) {
	bubble(t, 1, func(s *site) {
		const set = "sid" + tagA + "=1;Path=/ ;HttpOnly"
		s.nodes[0].engine.on(func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Set-Cookie"] = []string{set}
			_, _ = io.WriteString(w, strings.Join(r.Header["Cookie"], "|"))
		})
		b := s.browser()
		defer b.leaveConnections()
		a := b.ok(s.nodes[0], "/doc/x/", "Cookie", "sid"+tagB+"=2;  odd", "Cookie", "sid"+tagA+"=1")
		if a.body != "sid"+tagB+"=2;  odd|sid"+tagA+"=1" || a.header["Set-Cookie"][0] != set {
			t.Errorf("engine saw %q and set %q", a.body, a.header["Set-Cookie"])
		}
	})
}

// Cookies of sessions that a browser has no more are cleared, those of others stay.
func TestCookiesOfDeadSessionsAreCleared(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope, c.Session.IdleTimeout = ScopeDocument, 10*time.Minute })
		for _, nd := range s.nodes {
			nd.engine.on(counter(nd))
		}
		b := s.browser()
		defer b.leaveConnections()
		tagged := func() (n int) {
			for name := range b.cookies {
				if _, _, ok := cutTag(name); ok {
					n++
				}
			}
			return n
		}
		b.ok(s.nodes[0], "/doc/a/")
		b.ok(s.nodes[1], "/doc/b/")
		if tagged() != 2 {
			t.Fatalf("cookies %v", b.cookies)
		}
		for range 3 { // a stays, b idles out
			time.Sleep(5 * time.Minute)
			b.ok(s.nodes[0], "/doc/a/")
		}
		a := b.ok(s.nodes[1], "/doc/b/")
		if tagged() != 2 {
			t.Errorf("cookies %v after %q", b.cookies, a.header["Set-Cookie"])
		}
		if _, hits, _ := strings.Cut(b.ok(s.nodes[0], "/doc/a/").body, " "); !strings.HasPrefix(hits, "5 ") {
			t.Errorf("a living session's cookie was cleared: %q", hits)
		}
		b.cookies["left"+tagB] = "1"
		if set := b.ok(s.nodes[0], "/doc/a/").header["Set-Cookie"]; len(set) != 0 {
			t.Errorf("nothing of ours is set, and %q is cleared each time", set)
		}
		for range 17 { // too many documents: the oldest has to go, with its engine's cookie
			time.Sleep(2 * time.Second)
			b.ok(s.nodes[0], fmt.Sprintf("/doc/%d/", time.Now().Unix()))
		}
		if n := tagged(); n > maxDocumentCookies {
			t.Errorf("%d cookies of engines, for at most %d sessions", n, maxDocumentCookies)
		}
		a, err := b.do(s.nodes[0], http.MethodPost, leavePath, "")
		if err != nil || tagged() != 0 {
			t.Errorf("after leaving: %v, %d %v", err, a.status, b.cookies)
		}
	})
}

// A WebSocket's request and its 101 carry cookies like any other.
func TestWebSocketCookies(t *testing.T) {
	bubble(t, 2, func(s *site) {
		s.change(func(c *Settings) { c.Session.Scope = ScopeDocument })
		for _, nd := range s.nodes {
			nd.engine.on(counter(nd))
		}
		b := s.browser()
		defer b.leaveConnections()
		one, other := s.twoTabs(b)
		want, _, _ := strings.Cut(b.ok(s.nodes[0], one).body, " ")
		b.ok(s.nodes[0], other)
		saw := make(chan string, 1)
		for _, nd := range s.nodes {
			nd.engine.on(func(w http.ResponseWriter, r *http.Request) {
				saw <- r.Header.Get("Cookie")
				conn, rw, err := http.NewResponseController(w).Hijack()
				if err != nil {
					return
				}
				_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
					"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSet-Cookie: ws=1; HttpOnly\r\n\r\n")
				_ = rw.Flush()
				_ = conn.Close()
			})
		}
		var cookies []string
		for name, value := range b.cookies {
			cookies = append(cookies, name+"="+value)
		}
		a, err := s.raw(s.nodes[0], "GET "+one+"ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: "+strings.Join(cookies, "; ")+"\r\n\r\n")
		if a.status != http.StatusSwitchingProtocols {
			t.Fatalf("%d %s, %v", a.status, a.code, err)
		}
		if got := <-saw; got != "sid="+want {
			t.Errorf("engine saw %q, want sid=%s", got, want)
		}
		set := a.header["Set-Cookie"]
		if !slices.ContainsFunc(set, func(c string) bool { return strings.HasPrefix(c, "ws~") && strings.HasSuffix(c, "=1; HttpOnly") }) {
			t.Errorf("set %q", set)
		}
	})
}
