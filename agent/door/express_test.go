package door

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/http1"
)

// crossing is a request and its answer, as bytes.
type crossing struct {
	name     string
	request  string // COOKIE stands for the value of ours
	answer   string
	closes   bool // the engine closes the connection behind its answer
	express  bool // it goes the short way
	toEngine bool // else the door answers
	bad      bool // the answer is none: the owner's door says so
}

const (
	cleanRequest = "GET /case HTTP/1.1\r\nHost: app\r\nCookie: usher=COOKIE\r\n\r\n"
	cleanAnswer  = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
)

// crossings are what a door may meet. Both ways must do the same with them.
func crossings() []crossing {
	var all []crossing
	request := func(express bool, name, text string) {
		all = append(all, crossing{name: "request: " + name, request: text, answer: cleanAnswer, express: express, toEngine: true})
	}
	fields := func(express bool, name, lines string) {
		request(express, name, "GET /case HTTP/1.1\r\nHost: app\r\nCookie: usher=COOKIE\r\n"+lines+"\r\n")
	}
	cookie := func(express bool, name, lines string) {
		request(express, "cookies, "+name, "GET /case HTTP/1.1\r\nHost: app\r\n"+lines+"\r\n")
	}
	target := func(express bool, t string) {
		request(express, t, "GET "+t+" HTTP/1.1\r\nHost: app\r\nCookie: usher=COOKIE\r\n\r\n")
	}
	post := func(express bool, name, lines, body string) {
		request(express, name, "POST /case HTTP/1.1\r\nHost: app\r\nCookie: usher=COOKIE\r\n"+lines+"\r\n"+body)
	}
	request(true, "plain", cleanRequest)
	for _, m := range []string{"HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "POST", "REPORT"} {
		request(true, m, strings.Replace(cleanRequest, "GET", m, 1))
	}
	request(true, "absolute form", strings.Replace(cleanRequest, "/case", "http://app/case?q", 1))
	request(true, "HTTP/1.0", strings.Replace(cleanRequest, "1.1", "1.0", 1))
	request(true, "HTTP/1.0 that stays", "GET /case HTTP/1.0\r\nHost: app\r\nConnection: keep-alive\r\nCookie: usher=COOKIE\r\n\r\n")
	request(false, "HTTP/1.0 without Host", "GET /case HTTP/1.0\r\nCookie: usher=COOKIE\r\n\r\n")
	request(true, "HTTP/1.0 that asks for WebSocket", "GET /case HTTP/1.0\r\nHost: app\r\nCookie: usher=COOKIE\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	fields(true, "close", "Connection: close\r\n")
	fields(true, "usual ones", "Accept: */*\r\nAccept-Encoding: gzip\r\nUser-Agent: x\r\nReferer: http://app/\r\nX-A: 1\r\nX-A: 2\r\nx-b:\r\nX-C: \t spaces\t \r\n")
	fields(true, "of the hop", "Connection: X-Named, keep-alive\r\nX-Named: a\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nProxy-Authorization: a\r\nProxy-Authenticate: b\r\n")
	fields(true, "Connection names ours", "Connection: Cookie, Host, X-Forwarded-For, X-Usher-Session\r\n")
	fields(true, "of proxies", "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Foo: a\r\nForwarded: for=1\r\nX-Real-IP: 1.2.3.4\r\nX_Real_IP: 1\r\nA_b: c\r\n")
	fields(true, "of several proxies", "X-Forwarded-For: 1.2.3.4, 10.9.0.7\r\nX-Forwarded-For: 5.6.7.8:99\r\nX-Forwarded-For: 10.9.0.8, 10.9.0.9\r\nX-Forwarded-Host: a, app.example\r\nX-Forwarded-Proto: https, http\r\nX-Request-ID: of-a-proxy\r\n")
	fields(true, "of a proxy that knows nothing", "X-Forwarded-For: unknown\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: \r\nX-Request-ID: a\r\nX-Request-ID: b\r\n")
	fields(true, "of a proxy, named in Connection", "Connection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4\r\n")
	fields(true, "of agents", "X-Usher-Session: 1\r\nX-Usher-Engine: a\r\nX-Usher-Door: x\r\nX-usher-moved-from: y\r\nX-Usher-Via: z\r\nX-Usher-Open: new\r\n")
	fields(true, "of agents' length", "X-Usher-Client: 1\r\nX-Usher-Engine: a\r\nX-Usher-X: a\r\n")
	fields(false, "TE", "TE: trailers\r\nConnection: TE\r\n")
	fields(true, "Trailer without a body", "Trailer: X-A\r\n")
	fields(true, "Expect without a body", "Expect: 100-continue\r\n")
	fields(true, "basic", "Authorization: Basic YTpi\r\n")
	fields(false, "NTLM", "Authorization: NTLM TlRMTVNTUA==\r\n")
	fields(false, "Negotiate", "Authorization: negotiate abc\r\n")
	fields(true, "empty length", "Content-Length: 0\r\n")
	fields(true, "ranges and conditions", "Range: bytes=0-1\r\nIf-None-Match: \"a\"\r\n")
	fields(true, "bytes above 0x7f", "X-A: h\xc3\xa9\r\n")
	cookie(true, "others before", "Cookie: a=b; usher=COOKIE\r\n")
	cookie(true, "others behind", "Cookie: usher=COOKIE; a=b;c=d\r\n")
	cookie(true, "others around", "Cookie: a=b; usher=COOKIE; c=d\r\n")
	cookie(true, "in two lines", "Cookie: a=b;  c=d\r\nCookie: usher=COOKIE\r\n")
	cookie(true, "two lines with both", "Cookie: a=b; usher=COOKIE\r\nCookie: usher=COOKIE; c=d\r\n")
	cookie(true, "of names like ours", "Cookie: ushers=1; usher=COOKIE; xusher=2; usher-12=3; usher-12345678x=4\r\n")
	cookie(true, "of documents", "Cookie: usher-12345678=a; usher=COOKIE; __Host-usher-12345678=b\r\n")
	cookie(true, "odd ones", "Cookie: ;; a ; usher=COOKIE ;=x; \"q=;\r\n")
	cookie(true, "quoted", "Cookie: usher=\"COOKIE\"\r\n")
	cookie(true, "secure one too", "Cookie: __Host-usher=zzz; usher=COOKIE\r\n")
	cookie(false, "a bad one first", "Cookie: usher=zzz; usher=COOKIE\r\n")
	cookie(false, "too many of ours", "Cookie: "+strings.Repeat("usher-12345678=a; ", maxOwnCookies)+"usher=COOKIE\r\n")
	for _, t := range []string{"/", "/case?a=b&c=%zz", "/a/b/c.html", "/a%20b", "/caf%C3%A9", "/doc/sales/x", "/doc/sales%20north/x", "/doc/", "/doc", "/usherette", "/a//../", "/x?/../y", "/|{}"} {
		target(!strings.Contains(t, "//"), t)
	}
	for _, t := range []string{"/a/./b", "/a/../b", "/a;x/b", "/a\\b", "/%61", "/a%2fb", "/.hidden", "/doc/%6eorth"} {
		target(false, t)
	}
	for _, t := range []string{"/usher/status", "/qvajaxzfc/qvsstatus.aspx", "/.well-known/usher/load", "/a/../.well-known/usher", "/usher/leave"} {
		target(false, t)
		all[len(all)-1].toEngine = false
	}
	post(true, "small body", "Content-Length: 5\r\n", "hello")
	post(true, "no body", "Content-Length: 0\r\n", "")
	post(true, "as large as is kept", "Content-Length: "+strconv.Itoa(maxReplay)+"\r\n", strings.Repeat("x", maxReplay))
	post(false, "larger", "Content-Length: "+strconv.Itoa(maxReplay+1)+"\r\n", strings.Repeat("x", maxReplay+1))
	post(false, "chunked", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n")
	post(false, "that waits", "Content-Length: 5\r\nExpect: 100-continue\r\n", "hello")

	answer := func(express bool, name, text string) {
		all = append(all, crossing{name: "answer: " + name, request: cleanRequest, answer: text, express: express, toEngine: true})
	}
	head := func(lines string) string { return "HTTP/1.1 200 OK\r\n" + lines + "\r\n" }
	for _, s := range []string{"201 Created", "204 No Content", "205 Reset Content", "304 Not Modified", "404 Not Found", "500 Oops", "503 Busy", "299 ", "401 No", "407 No"} {
		length := "Content-Length: 0\r\n"
		if s[:3] == "204" || s[:3] == "304" {
			length = ""
		}
		answer(true, s, "HTTP/1.1 "+s+"\r\n"+length+"\r\n")
	}
	answer(true, "304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"a\"\r\n\r\n")
	answer(true, "204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
	answer(true, "without a reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")
	answer(true, "chunked", head("Transfer-Encoding: chunked\r\n")+"2\r\nok\r\n3;ext=1\r\nyes\r\n0\r\n\r\n")
	answer(true, "chunked, empty", head("Transfer-Encoding: chunked\r\n")+"0\r\n\r\n")
	answer(true, "trailers", head("Transfer-Encoding: chunked\r\nTrailer: X-T\r\n")+"2\r\nok\r\n0\r\nX-T: 1\r\nX-Usher-Error: 2\r\n\r\n")
	answer(true, "to the end", head(""))
	all[len(all)-1].answer += "until the end"
	all[len(all)-1].closes = true
	answer(true, "closing", head("Content-Length: 2\r\nConnection: close\r\n")+"ok")
	all[len(all)-1].closes = true
	answer(true, "HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
	all[len(all)-1].closes = true
	answer(true, "of the hop", head("Content-Length: 2\r\nConnection: X-N, keep-alive\r\nX-N: 1\r\nKeep-Alive: 3\r\nProxy-Authenticate: x\r\nProxy-Authentication-Info: y\r\nUpgrade: h2\r\nProxy-Connection: z\r\n")+"ok")
	answer(true, "of agents", head("Content-Length: 2\r\nX-Usher-Refused: ended\r\nX-Usher-Error: x\r\nX-Usher-Node: y\r\n")+"ok")
	answer(true, "a refusal that an engine makes up", "HTTP/1.1 503 No\r\nContent-Length: 0\r\nX-Usher-Refused: ended\r\n\r\n")
	answer(true, "fields", head("Content-Length: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nDate: Mon, 02 Jan 2006 15:04:05 GMT\r\nX-Empty:\r\nServer: x\r\n")+"ok")
	answer(true, "two equal lengths", head("Content-Length: 2\r\nContent-Length: 2\r\n")+"ok")
	answer(true, "interim ones", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX-Usher-Node: y\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"+cleanAnswer)
	answer(true, "large", head("Content-Length: 100000\r\n")+strings.Repeat("0123456789", 10000))
	answer(true, "large, chunked", head("Transfer-Encoding: chunked\r\n")+strings.Repeat("2710\r\n"+strings.Repeat("0123456789", 1000)+"\r\n", 10)+"0\r\n\r\n")
	for name, lines := range map[string]string{
		"differing lengths":     "Content-Length: 2\r\nContent-Length: 3\r\n",
		"length and chunked":    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
		"other coding":          "Transfer-Encoding: gzip, chunked\r\n",
		"folded":                "X-A: a\r\n b\r\nContent-Length: 2\r\n",
		"bare LF":               "X-A: a\nContent-Length: 2\r\n",
		"space before a colon":  "X-A : a\r\nContent-Length: 2\r\n",
		"length that is no one": "Content-Length: x\r\n",
	} {
		answer(false, name, head(lines)+"ok")
		all[len(all)-1].closes, all[len(all)-1].bad = true, true
	}
	answer(false, "switching unasked", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	all[len(all)-1].bad = true
	answer(false, "no HTTP", "SSH-2.0-x\r\n\r\n")
	all[len(all)-1].closes, all[len(all)-1].bad = true, true
	answer(true, "chunk that is none", head("Transfer-Encoding: chunked\r\n")+"zz\r\n")
	answer(true, "cut short", head("Content-Length: 10\r\n")+"ok")
	all[len(all)-1].closes = true
	answer(true, "chunks cut short", head("Transfer-Encoding: chunked\r\n")+"5\r\nok")
	all[len(all)-1].closes = true
	for _, m := range []string{"HEAD", "POST"} {
		for _, a := range []string{cleanAnswer, head("Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n0\r\n\r\n", head("Content-Length: 0\r\n")} {
			if m == "HEAD" {
				a = a[:strings.Index(a, "\r\n\r\n")+4]
			}
			all = append(all, crossing{name: fmt.Sprintf("%s, %q", m, a), request: strings.Replace(cleanRequest, "GET", m, 1), answer: a, express: true, toEngine: true})
		}
	}
	for _, a := range []string{head("Transfer-Encoding: chunked\r\n") + "2\r\nok\r\n0\r\n\r\n", "HTTP/1.1 103 Early\r\n\r\n" + cleanAnswer} {
		all = append(all, crossing{name: fmt.Sprintf("HTTP/1.0, %q", a), request: strings.Replace(cleanRequest, "1.1", "1.0", 1), answer: a, express: true, toEngine: true})
	}
	return all
}

// scripted makes an engine answer "/warm" well, and all else with what it is told. It
// gives what it was asked, "/warm" left out.
type scripted struct {
	answer string
	closes bool
	saw    []string
}

func (e *fakeEngine) script(t *testing.T, s *scripted) {
	e.stop()
	e.raw = func(c net.Conn) {
		for br := bufio.NewReader(c); ; {
			request, err := readRaw(br)
			if err != nil {
				return
			}
			if strings.Contains(request, "/warm") {
				_, _ = io.WriteString(c, cleanAnswer)
				continue
			}
			e.mu.Lock()
			s.saw = append(s.saw, request)
			answer, closes := s.answer, s.closes
			e.mu.Unlock()
			if _, _ = io.WriteString(c, answer); closes {
				return
			}
		}
	}
	e.start(t)
}

// readRaw reads a request, with the lines of its head in order.
func readRaw(br *bufio.Reader) (string, error) {
	var lines []string
	length, chunked := 0, false
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\r\n" {
			break
		}
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(line)), ": ")
		switch name {
		case "content-length":
			length, _ = strconv.Atoi(value)
		case "transfer-encoding":
			chunked = true
		}
		lines = append(lines, canonical(line))
	}
	slices.Sort(lines[1:])
	head := strings.Join(lines, "")
	if chunked {
		b, err := io.ReadAll(http1Chunks(br))
		return head + string(b), err
	}
	b := make([]byte, length)
	_, err := io.ReadFull(br, b)
	return head + string(b), err
}

// canonical is a line with its name as net/http writes it.
func canonical(line string) string {
	name, value, ok := strings.Cut(line, ":")
	if !ok || strings.Contains(name, " ") {
		return line
	}
	return http.CanonicalHeaderKey(name) + ":" + ids.ReplaceAllString(value, "x")
}

// http1Chunks decodes a chunked body, up to its end.
func http1Chunks(br *bufio.Reader) io.Reader {
	r := http1.NewReader(&chunkConn{br: br, head: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"}, http1.NewBuffers(http1.Limits{}))
	_, err := r.ReadRequest()
	pr, pw := io.Pipe()
	go func() {
		for err == nil {
			var p []byte
			if p, err = r.ReadBody(); err == nil {
				_, err = pw.Write(p)
			}
		}
		_ = pw.CloseWithError(err)
	}()
	return pr
}

// chunkConn gives a head, and then one byte at a time, so that nothing is read too much.
type chunkConn struct {
	net.Conn
	br   *bufio.Reader
	head string
}

func (c *chunkConn) Read(p []byte) (int, error) {
	if c.head != "" {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	b, err := c.br.ReadByte()
	p[0] = b
	return 1, err
}

// cross sends a crossing on a connection that the door knows, and gives what the engine
// and the user see, in an order that does not depend on the way.
func (s *site) cross(at *node, sc *scripted, e *fakeEngine, cookie string, c crossing) (engine []string, user string, closed bool) {
	s.t.Helper()
	e.set(func() { sc.answer, sc.closes, sc.saw = c.answer, c.closes, nil })
	conn, err := s.users.DialContext(context.Background(), "tcp", at.ip+":80")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	br := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "GET /warm HTTP/1.1\r\nHost: app\r\nCookie: usher="+cookie+"\r\n\r\n")
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 {
		s.t.Fatalf("%s: warming: %v", c.name, err)
	} else {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	go func() { _, _ = io.WriteString(conn, strings.ReplaceAll(c.request, "COOKIE", cookie)) }()
	b, err := io.ReadAll(br)
	var ne net.Error
	closed = !errors.As(err, &ne) || !ne.Timeout()
	e.set(func() { engine = slices.Clone(sc.saw) })
	return engine, ordered(string(b)), closed
}

var ids = regexp.MustCompile(`[0-9a-f]{12}-[0-9a-f]{8}`)

// ordered sorts the lines of heads, undoes chunks, and takes out what is of the moment.
func ordered(raw string) string {
	raw = ids.ReplaceAllString(raw, "x")
	var out strings.Builder
	for raw != "" {
		head, rest, ok := strings.Cut(raw, "\r\n\r\n")
		if !ok || !strings.HasPrefix(head, "HTTP/1.1 ") {
			return out.String() + raw
		}
		lines := strings.Split(head, "\r\n")
		for i := range lines {
			if lines[i] = canonical(lines[i]); strings.HasPrefix(lines[i], "Date: ") && !strings.Contains(lines[i], "2006") {
				lines[i] = "Date: now"
			}
		}
		slices.Sort(lines[1:])
		out.WriteString(strings.Join(lines, "\r\n") + "\r\n\r\n")
		raw = rest
		if slices.Contains(lines, "Transfer-Encoding: chunked") {
			body, trailer, ok := dechunk(raw)
			if body == "" && ok { // one way knows that there is nothing
				return strings.Replace(out.String(), "Date: now\r\nTransfer-Encoding: chunked", "Content-Length: 0\r\nDate: now", 1)
			}
			out.WriteString(body + trailer)
			if !ok { // whether that was known with the head differs
				return strings.Replace(out.String(), "Connection: close\r\n", "", 1) + "(cut short)"
			}
			return out.String()
		}
	}
	return out.String()
}

// dechunk gives the data of chunks, however they were cut, and the trailer section.
func dechunk(raw string) (body, trailer string, ok bool) {
	for {
		line, rest, found := strings.Cut(raw, "\r\n")
		n, err := strconv.ParseInt(line, 16, 32)
		if !found || err != nil {
			return body, "", false
		}
		if n == 0 {
			return body, rest, true
		}
		if int(n)+2 > len(rest) {
			return body + rest, "", false
		}
		body, raw = body+rest[:n], rest[n+2:]
	}
}

// expressed is how many requests of users went the short way at the first node.
func (s *site) expressed() float64 {
	s.t.Helper()
	all, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == "usher_door_express_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	s.t.Fatal("no count of the short way")
	return 0
}

// boundTo is a browser with a session at a node's engine.
func (s *site) boundTo(nd *node) *browser {
	for range 50 {
		b := s.browser()
		if b.ok(s.nodes[0], "/").seen.Engine == nd.name {
			return b
		}
		b.leaveConnections()
	}
	s.t.Fatalf("no session goes to %s", nd.name)
	return nil
}

// Both ways do the same.
func TestExpressIsTheSame(t *testing.T) {
	for _, where := range []string{"local", "remote", "local behind a proxy", "remote behind a proxy"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, 2, func(s *site) {
				where, behind := strings.CutSuffix(where, " behind a proxy")
				if behind {
					s.change(func(c *Settings) { c.TrustedNetworks, c.HSTS = prefixes("10.9.0.0/16"), time.Hour })
				}
				owner := s.nodes[0]
				if where == "remote" {
					owner = s.nodes[1]
				}
				b := s.boundTo(owner)
				b.leaveConnections()
				sc := &scripted{}
				owner.engine.script(t, sc)
				cookie := b.cookies[cookieName]
				for _, c := range crossings() {
					s.whole.Store(true)
					wantEngine, wantUser, wantClosed := s.cross(s.nodes[0], sc, owner.engine, cookie, c)
					s.whole.Store(false)
					before := s.expressed()
					engine, user, closed := s.cross(s.nodes[0], sc, owner.engine, cookie, c)
					if d := cmp.Diff(wantEngine, engine); d != "" {
						t.Errorf("%s: the engine saw (-whole +express)\n%s", c.name, d)
					}
					if d := cmp.Diff(wantUser, user); d != "" || closed != wantClosed {
						t.Errorf("%s: the user got (-whole +express), closed %v, %v\n%s", c.name, wantClosed, closed, d)
					}
					if n := s.expressed() - before; (n == 1) != (c.express || c.bad && where == "remote") {
						t.Errorf("%s: %v went the short way", c.name, n)
					}
					if c.toEngine != (len(engine) == 1) {
						t.Errorf("%s: the engine saw %d requests", c.name, len(engine))
					}
				}
			})
		})
	}
}
