package door

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// corpusCase is a line of testdata/corpus; see the README there.
type corpusCase struct {
	at, section, why string
	outcome          []string
	raw              string
}

// readCorpus reads all of them.
func readCorpus(t *testing.T) []corpusCase {
	t.Helper()
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var all []corpusCase
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			at := fmt.Sprintf("%s:%d", filepath.Base(f), i+1)
			parts := strings.SplitN(line, " | ", 4)
			if len(parts) != 4 {
				t.Fatalf("%s: a case is outcome | section | why | bytes", at)
			}
			raw, err := unescape(parts[3])
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			want, err := unescape(parts[0])
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			all = append(all, corpusCase{at, parts[1], parts[2], strings.Split(want, ", "), raw})
		}
	}
	return all
}

var (
	repeated = regexp.MustCompile(`\{([^{}*]+)\*([0-9]+)\}`)
	hexByte  = regexp.MustCompile(`\\x([0-9A-F]{2})`)
)

// unescape makes the bytes of a case from how they are written.
func unescape(s string) (string, error) {
	s = strings.ReplaceAll(s, "%N", "GET /n HTTP/1.1¶%H¶")
	s = strings.ReplaceAll(s, "%H", "Host: h¶")
	s = strings.NewReplacer("¶", "\r\n", "␊", "\n", "␍", "\r", "␉", "\t", "␀", "\x00").Replace(s)
	s = repeated.ReplaceAllStringFunc(s, func(m string) string {
		p := repeated.FindStringSubmatch(m)
		n, err := strconv.Atoi(p[2])
		if err != nil {
			return m
		}
		return strings.Repeat(p[1], n)
	})
	s = hexByte.ReplaceAllStringFunc(s, func(m string) string {
		n, err := strconv.ParseUint(m[2:], 16, 8)
		if err != nil {
			return m
		}
		return string([]byte{byte(n)})
	})
	if i := strings.Index(s, `\x`); i >= 0 {
		return "", fmt.Errorf(`\x without two hexadecimal capitals at %d`, i)
	}
	return s, nil
}

// scribe is an engine that notes each request that has come whole, by a reading of its own
// that knows no more than it must: CR LF, two ways to frame a body, and no mercy.
type scribe struct {
	l     net.Listener
	mu    sync.Mutex
	notes []string
	last  []string // what take returned
}

func newScribe(tb testing.TB) *scribe {
	s := &scribe{l: listen(tb)}
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *scribe) Name() string { return "app" }
func (s *scribe) Host() string { return s.l.Addr().String() }
func (s *scribe) Dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", s.Host())
}
func (s *scribe) Health() (peer.Health, time.Time) { return peer.Healthy, time.Time{} }
func (s *scribe) MaxSessions() int                 { return 0 }
func (s *scribe) HostHeader() string               { return "" }

func (s *scribe) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, line)
}

// take is what was noted since the last call.
func (s *scribe) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.notes = s.notes, nil
	return s.last
}

// kept is what take returned last, and what came since.
func (s *scribe) kept() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := append(slices.Clone(s.last), s.notes...)
	s.last, s.notes = nil, nil
	return n
}

func (s *scribe) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReaderSize(c, 64<<10)
	for {
		method, target, n, err := readPlainly(br, func() { _, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n") })
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.note("an engine cannot read it: " + err.Error())
			}
			return
		}
		line := method + " " + target
		if n > 0 {
			line += fmt.Sprintf("+%d", n)
		}
		s.note(line)
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
		if method == http.MethodHead {
			answer = strings.TrimSuffix(answer, "ok")
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// readPlainly reads one request, and calls proceed when its sender waits for that. io.EOF is an
// end before it was whole.
func readPlainly(br *bufio.Reader, proceed func()) (method, target string, n int, err error) {
	line := func() string {
		b, rerr := br.ReadString('\n')
		switch {
		case err != nil:
		case rerr != nil:
			err = io.EOF
		case !strings.HasSuffix(b, "\r\n") || strings.Count(b, "\r") != 1:
			err = fmt.Errorf("line %q", b)
		}
		return strings.TrimSuffix(b, "\r\n")
	}
	first := strings.Split(line(), " ")
	if err == nil && (len(first) != 3 || first[2] != "HTTP/1.1") {
		err = fmt.Errorf("request line %q", first)
	}
	length, chunked, waits := -1, false, false
	for err == nil {
		l := line()
		if l == "" {
			break
		}
		name, value, ok := strings.Cut(l, ": ")
		switch {
		case !ok || strings.ContainsAny(name, " \t_"):
			err = fmt.Errorf("field %q", l)
		case strings.EqualFold(name, "content-length") && length >= 0, strings.EqualFold(name, "transfer-encoding") && value != "chunked":
			err = fmt.Errorf("framing %q", l)
		case strings.EqualFold(name, "content-length"):
			length, err = strconv.Atoi(value)
		case strings.EqualFold(name, "transfer-encoding"):
			chunked = true
		case strings.EqualFold(name, "expect"):
			waits = true
		}
	}
	if err == nil && chunked && length >= 0 {
		err = errors.New("two framings")
	}
	if err == nil && waits {
		proceed()
	}
	for err == nil && chunked {
		size, perr := strconv.ParseUint(line(), 16, 31)
		switch {
		case err != nil:
		case perr != nil:
			err = perr
		case size == 0:
			for l := line(); err == nil && l != ""; l = line() {
				if name, _, _ := strings.Cut(strings.ToLower(l), ":"); name == "content-length" || name == "transfer-encoding" || name == "host" {
					err = fmt.Errorf("trailer %q", l)
				}
			}
			return first[0], first[1], n, err
		default:
			err = discard(br, int(size)+2)
			n += int(size)
		}
	}
	if err == nil && length > 0 {
		n, err = length, discard(br, length)
	}
	if err != nil {
		return "", "", 0, err
	}
	return first[0], first[1], n, nil
}

func discard(br *bufio.Reader, n int) error {
	if _, err := br.Discard(n); err != nil {
		return io.EOF
	}
	return nil
}

// became sends a case to a door, on a connection that has had before said to it, and tells
// what became of it.
func (s *scribe) became(t *testing.T, address, before, raw string) []string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	if before != "" {
		_, _ = io.WriteString(c, before)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 {
			t.Fatalf("before it: %v", err)
		} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		s.take()
	}
	go func() { // the door may answer before it has read all
		_, _ = io.WriteString(c, raw)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	answers, err := io.ReadAll(br)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return []string{"no end"}
	}
	return outcome(answers, s.take())
}

// outcome joins the door's answers with what the engine has noted.
func outcome(answers []byte, notes []string) []string {
	var out []string
	for br := bufio.NewReader(bytes.NewReader(answers)); ; {
		method := http.MethodGet
		if len(notes) > 0 && strings.HasPrefix(notes[0], http.MethodHead+" ") {
			method = http.MethodHead
		}
		resp, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			break
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		switch {
		case resp.StatusCode < 200:
		case resp.StatusCode == 200 && len(notes) > 0:
			out, notes = append(out, notes[0]), notes[1:]
		default:
			out = append(out, strconv.Itoa(resp.StatusCode))
		}
	}
	for _, n := range notes {
		out = append(out, "without an answer: "+n)
	}
	if out == nil {
		out = []string{"-"}
	}
	return out
}

// TestCorpus sends what testdata/corpus holds to a door, on the whole way and, where a cookie
// can be put in, on the short one: of each case the engine sees what the corpus says, and
// nothing else.
func TestCorpus(t *testing.T) {
	if raceOn {
		t.Skip("scripts/test.sh runs it without the race detector")
	}
	all := readCorpus(t)
	if len(all) < 400 {
		t.Errorf("%d cases", len(all))
	}
	s := newScribe(t)
	p := newPairBeside(t, s, func(*Config) {})
	_, cookie, ok := strings.Cut(firstAnswer(t, p.users[1].Addr().String()), "Set-Cookie: ")
	if !ok {
		t.Fatal("no cookie")
	}
	cookie, _, _ = strings.Cut(cookie, ";")
	field := "Host: h\r\nCookie: " + cookie + "\r\n"
	for i, way := range []string{"by way of the owner", "at the owner"} {
		address := p.users[i].Addr().String()
		for _, c := range all {
			s.take()
			if got := s.became(t, address, "", c.raw); !slices.Equal(got, c.outcome) {
				t.Errorf("%s %s (%s, RFC %s): %q, want %q", c.at, way, c.why, c.section, got, c.outcome)
			}
			bound := strings.ReplaceAll(c.raw, "Host: h\r\n", field)
			if bound == c.raw || c.section == "9110-5.4" { // no place for a cookie, or none left
				continue
			}
			if got := s.became(t, address, "GET /w HTTP/1.1\r\n"+field+"\r\n", bound); !slices.Equal(got, c.outcome) {
				t.Errorf("%s %s, bound (%s, RFC %s): %q, want %q", c.at, way, c.why, c.section, got, c.outcome)
			}
		}
	}
}

func firstAnswer(t *testing.T, address string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
