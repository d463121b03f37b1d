package door

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// both runs f with the session's engine beside the door, and behind another one.
func both(t *testing.T, f func(t *testing.T, s *site, b *browser, at, owner *node)) {
	for _, where := range []string{"local", "remote"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, 2, func(s *site) {
				b, owner := s.bound()
				at := s.nodes[0]
				if where == "local" {
					at = owner
				}
				f(t, s, b, at, owner)
				b.leaveConnections()
			})
		})
	}
}

func TestBodies(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, _ *node) {
		for _, n := range []int{1, maxReplay, maxReplay + 1, 3 << 20} {
			want := strings.Repeat("0123456789abcde\n", n/16+1)[:n]
			a, err := b.do(at, "POST", "/", want)
			if err != nil || a.seen.Body != want {
				t.Errorf("%d bytes: %v, %d, %d came", n, err, a.status, len(a.seen.Body))
			}
		}
		pr, pw := io.Pipe() // chunked
		go func() {
			for i := range 5 {
				fmt.Fprintf(pw, "part %d;", i)
				time.Sleep(20 * time.Second)
			}
			pw.Close()
		}()
		r, _ := http.NewRequest("PUT", "http://"+at.ip+"/", pr)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookies[cookieName]})
		resp, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(got), "part 0;part 1;part 2;part 3;part 4;") {
			t.Errorf("chunked: %d %q", resp.StatusCode, got)
		}
	})
}

func TestBodyTooLarge(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		s.change(func(c *Settings) { c.Traffic.MaxBodyBytes = 100_000 })
		before := owner.engine.requests()
		a, err := b.do(at, "POST", "/", strings.Repeat("x", 100_001))
		if err != nil || a.status != http.StatusRequestEntityTooLarge || a.code != "body_too_large" {
			t.Errorf("%v, %d %s", err, a.status, a.code)
		}
		if owner.engine.requests() != before {
			t.Error("it went to the engine all the same")
		}
		if a, err = b.do(at, "POST", "/", strings.Repeat("x", 100_000)); err != nil || a.status != 200 {
			t.Errorf("as large as allowed: %v, %d %s", err, a.status, a.code)
		}
		r, _ := http.NewRequest("POST", "http://"+at.ip+"/", io.MultiReader(strings.NewReader(strings.Repeat("x", 200_000)))) // chunked
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookies[cookieName]})
		resp, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("chunked: %d", resp.StatusCode)
		}
	})
}

// That an engine is lost while a user sends is not the user's fault.
func TestEngineLostDuringUpload(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 3))
			time.Sleep(10 * time.Second)
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_ = c.Close() // net/http by itself would wait for the body
			}
		})
		for _, head := range []string{"Content-Length: 200000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
			code, took := s.stalls(b, at, head)
			if code != "connection_lost" || took > 20*time.Second {
				t.Errorf("%q: %q after %s", head, code, took)
			}
		}
	})
}

// An engine may think for longer than a body may stall.
func TestSlowAnswerToBody(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(io.Discard, r.Body)
			time.Sleep(3 * time.Minute)
			fmt.Fprint(w, n)
		})
		for _, n := range []int{10, 2 * maxReplay} {
			a, err := b.do(at, "POST", "/", strings.Repeat("x", n))
			if err != nil || a.body != fmt.Sprint(n) {
				t.Errorf("%d bytes: %v, %d %s %q", n, err, a.status, a.code, a.body)
			}
		}
	})
}

// stalls sends a head and part of a body, and reads what the door says.
func (s *site) stalls(b *browser, at *node, head string) (string, time.Duration) {
	c, err := s.users.DialContext(context.Background(), "tcp", at.ip+":80")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nCookie: usher=%s\r\n%s", b.cookies[cookieName], head)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error(), time.Since(began)
	}
	return resp.Header.Get(fieldError), time.Since(began)
}

func TestBodyStalls(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		for _, head := range []string{"Content-Length: 10\r\n\r\nabc", "Content-Length: 200000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"} {
			code, took := s.stalls(b, at, head)
			if code != "body_stalled" || took < 30*time.Second || took > 34*time.Second {
				t.Errorf("%q: %q after %s", head, code, took)
			}
		}
		synctest.Wait()
		if l := owner.door.Loads()[0]; l.InFlight != 0 {
			t.Errorf("%d requests are under way still", l.InFlight)
		}
	})
}

// An engine may answer before it has read the body.
func TestEarlyAnswer(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "too much", http.StatusRequestEntityTooLarge)
		})
		c, err := s.users.DialContext(context.Background(), "tcp", at.ip+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: a\r\nCookie: usher=%s\r\nContent-Length: 1000000\r\n\r\nbegin", b.cookies[cookieName])
		began := time.Now()
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestEntityTooLarge || time.Since(began) > 5*time.Second {
			t.Errorf("%d after %s", resp.StatusCode, time.Since(began))
		}
		if !resp.Close {
			t.Error("the connection, with the rest of the body on it, is said to be good for more")
		}
	})
}

// What an engine flushes reaches the user at once.
func TestStreaming(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for i := range 4 {
				fmt.Fprintf(w, "data: %d\n\n", i)
				w.(http.Flusher).Flush()
				time.Sleep(20 * time.Second)
			}
		})
		r, _ := http.NewRequest("GET", "http://"+at.ip+"/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookies[cookieName]})
		resp, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		began := time.Now()
		for i := 0; lines.Scan(); {
			if lines.Text() == "" {
				continue
			}
			if want := time.Duration(i) * 20 * time.Second; time.Since(began).Round(time.Second) != want {
				t.Errorf("%q came after %s", lines.Text(), time.Since(began))
			}
			i++
		}
		if err := lines.Err(); err != nil {
			t.Error(err)
		}
	})
}

// An answer that breaks off must not look whole.
func TestAnswerCutShort(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("x", 100_000))
			panic(http.ErrAbortHandler)
		})
		if a, err := b.do(at, "GET", "/", ""); err == nil {
			t.Errorf("%d with %d bytes looks whole", a.status, len(a.body))
		}
	})
}

func TestInformationalAndTrailers(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.Header().Set(fieldRefused, "ended")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
			w.Header().Del(fieldRefused)
			w.Header().Set("Trailer", "X-Sum, X-Usher-Refused")
			_, _ = io.WriteString(w, "body")
			w.Header().Set("X-Sum", "42")
			w.Header().Set(fieldRefused, "ended")
		})
		var hints []string
		trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hints = append(hints, fmt.Sprint(code, h["Link"], h[fieldRefused]))
			return nil
		}}
		r, _ := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "GET", "http://"+at.ip+"/", nil)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookies[cookieName]})
		resp, err := b.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "body" || resp.Trailer.Get("X-Sum") != "42" || resp.Header.Get("Link") != "" {
			t.Errorf("%q, trailer %v, header %v", got, resp.Trailer, resp.Header)
		}
		if len(resp.Trailer[fieldRefused]) != 0 {
			t.Errorf("trailer %v", resp.Trailer)
		}
		if want := "103 [</style.css>; rel=preload] []"; len(hints) != 1 || hints[0] != want {
			t.Errorf("hints %q, want %q", hints, want)
		}
	})
}

// A client that waits for 100 gets it when the engine reads, and not before.
func TestExpectContinue(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/no" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			got, _ := io.ReadAll(r.Body)
			_, _ = w.Write(got)
		})
		for path, want := range map[string]string{"/no": "403", "/yes": "100"} {
			c, err := s.users.DialContext(context.Background(), "tcp", at.ip+":80")
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: a\r\nCookie: usher=%s\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", path, b.cookies[cookieName])
			br := bufio.NewReader(c)
			line, err := br.ReadString('\n')
			if err != nil || !strings.Contains(line, want) {
				t.Errorf("%s: %q, %v", path, line, err)
			}
			c.Close()
		}
	})
}

// A connection that carries one user's authentication is not shared (NTLM).
func TestPinnedConnection(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		owner.engine.on(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "" {
				w.Header().Set("Www-Authenticate", "NTLM")
				w.WriteHeader(http.StatusUnauthorized)
			}
			_, _ = io.WriteString(w, r.RemoteAddr)
		})
		first, err := b.do(at, "GET", "/", "")
		if err != nil || first.status != http.StatusUnauthorized {
			t.Fatal(first.status, err)
		}
		other := s.browser()
		defer other.leaveConnections()
		other.cookies[cookieName] = b.cookies[cookieName]
		foreign := other.ok(at, "/", "Authorization", "Basic x")
		mine := b.ok(at, "/", "Authorization", "NTLM x")
		if mine.body != first.body || foreign.body == first.body {
			t.Errorf("engine connections: mine %s then %s, another user's %s", first.body, mine.body, foreign.body)
		}
		// Local: the user's two, one for each door that was used, and the engine's.
		// Remote: the user's, the one between the doors, and the engine's.
		const ends = 2 * 3
		before := s.net.Conns()
		b.leaveConnections()
		synctest.Wait()
		if n := before - s.net.Conns(); n != ends {
			t.Errorf("%d ends of connections went with the user, want %d", n, ends)
		}
	})
}

func TestHostHeader(t *testing.T) {
	both(t, func(t *testing.T, _ *site, b *browser, at, owner *node) {
		if a := b.ok(at, "/a%2fb?x=%20"); a.seen.Host != "app.example.test" || a.seen.Path != "/a%2fb?x=%20" {
			t.Errorf("host %q, path %q", a.seen.Host, a.seen.Path)
		}
		owner.engine.set(func() { owner.engine.inner = "inner:1" })
		a := b.ok(at, "/")
		if a.seen.Host != "inner:1" || a.seen.Header.Get("X-Forwarded-Host") != "app.example.test" {
			t.Errorf("host %q, forwarded host %q", a.seen.Host, a.seen.Header.Get("X-Forwarded-Host"))
		}
	})
}

// A user that reads nothing does not hold an engine for ever.
func TestUserReadsNothing(t *testing.T) {
	both(t, func(t *testing.T, s *site, b *browser, at, owner *node) {
		ended := make(chan struct{})
		owner.engine.on(func(w http.ResponseWriter, _ *http.Request) {
			defer close(ended)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		var c net.Conn
		c, err := s.users.DialContext(context.Background(), "tcp", at.ip+":80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		began := time.Now()
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: a\r\nCookie: usher=%s\r\n\r\n", b.cookies[cookieName])
		<-ended
		if took := time.Since(began); took > 2*time.Minute {
			t.Errorf("it took %s", took)
		}
	})
}
