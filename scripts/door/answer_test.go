package main

import (
	"strings"
	"testing"
)

func TestAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, tc := range map[string]struct {
		text   string
		status int
		size   int
		closes bool
	}{
		"length":            {ok + "Content-Length: 3\r\n\r\nabc", 200, 3, false},
		"length, small":     {ok + "content-length:  3 \r\nx: y\r\n\r\nabc", 200, 3, false},
		"nothing":           {ok + "Content-Length: 0\r\n\r\n", 200, 0, false},
		"closes":            {ok + "Connection: close\r\nContent-Length: 1\r\n\r\na", 200, 1, true},
		"refused":           {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno", 503, 2, false},
		"a WebSocket":       {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 101, 0, false},
		"chunks":            {ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 200, 13, false},
		"chunks, a trailer": {ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\n\r\n", 200, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			for step := 1; step <= len(tc.text); step++ {
				var a answer
				a.reset()
				for rest := tc.text; rest != ""; {
					n := min(step, len(rest))
					if a.done {
						t.Fatalf("in pieces of %d: done before the last one", step)
					}
					if err := a.feed([]byte(rest[:n])); err != nil {
						t.Fatalf("in pieces of %d: %v", step, err)
					}
					rest = rest[n:]
				}
				if !a.done || a.status != tc.status || a.got != tc.size || a.close != tc.closes {
					t.Fatalf("in pieces of %d: done %v, %d, %d bytes, closes %v", step, a.done, a.status, a.got, a.close)
				}
			}
		})
	}
}

func TestAnswerRefused(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, text := range map[string]string{
		"no HTTP":                  "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"until the end":            ok + "Content-Type: text/plain\r\n\r\n",
		"no number":                ok + "Content-Length: many\r\n\r\n",
		"more than it holds":       ok + "Content-Length: 1\r\n\r\nab",
		"more behind chunks":       ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1",
		"a chunk without a size":   ok + "Transfer-Encoding: chunked\r\n\r\nx\r\n",
		"a head that never ends":   ok + strings.Repeat("x: y\r\n", 20_000),
		"an answer of HTTP/1.0":    "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"a chunk of negative size": ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var a answer
			if err := a.feed([]byte(text)); err == nil {
				t.Errorf("taken: done %v, %d bytes", a.done, a.got)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		answer answer
		right  bool
	}{
		"right":     {answer{status: 200, got: 5}, true},
		"refused":   {answer{status: 429, got: 5}, false},
		"too short": {answer{status: 200, got: 4}, false},
		"too long":  {answer{status: 200, got: 6}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tc.answer.check(5); (err == nil) != tc.right {
				t.Error(err)
			}
		})
	}
}

// What is not looked at counts as well.
func TestSkip(t *testing.T) {
	var a answer
	if err := a.feed([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")); err != nil {
		t.Fatal(err)
	}
	if got := a.missing(); got != 7 {
		t.Fatalf("%d bytes are missing, want 7", got)
	}
	a.skip(4)
	if a.done {
		t.Fatal("done with 7 of 10 bytes")
	}
	a.skip(3)
	if !a.done || a.got != 10 {
		t.Errorf("done %v with %d bytes", a.done, a.got)
	}
}
