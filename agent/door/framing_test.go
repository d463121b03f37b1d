package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// exchange writes bytes to a door's port and reads all answers until the connection
// ends or nothing comes for a while.
func (s *site) exchange(nd *node, request string) (statuses []int, closed bool) {
	s.t.Helper()
	c, err := s.users.DialContext(context.Background(), "tcp", nd.ip+":80")
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		s.t.Fatal(err)
	}
	br := bufio.NewReader(c)
	for {
		resp, err := http.ReadResponse(br, nil)
		var ne net.Error
		switch {
		case errors.As(err, &ne) && ne.Timeout():
			return statuses, false
		case err != nil:
			return statuses, true
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return append(statuses, -1), true
		}
		statuses = append(statuses, resp.StatusCode)
	}
}

// What follows a request is the next one, or nothing is believed any more.
func TestEndsOfRequests(t *testing.T) {
	const next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
	cases := []struct {
		name, request string
		statuses      []int
		closed        bool
	}{
		{"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", []int{200, 200}, false},
		{"a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok", []int{200, 200}, false},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", []int{200, 200}, false},
		{"chunked and a length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{400}, true},
		{"a length and chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", []int{400}, true},
		{"chunked, for the status page", "POST /usher/status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{405, 200}, false},
		{"chunked GET of the status page", "GET /usher/status HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", []int{200, 200}, false},
		{"HTTP/1.0 that wants to stay", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", []int{200, 200}, false},
		{"HTTP/1.0, chunked", "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n", []int{400}, true},
		{"bad chunk size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n0\r\n\r\n", []int{400}, true},
		{"bad chunk size later", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n-1\r\n\r\n", []int{400}, true},
		{"chunk too long", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\nok\r\n0\r\n\r\n", []int{400}, true},
		{"trailer section that is too large", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: " + strings.Repeat("x", 5000) + "\r\n\r\n", []int{431}, true},
		{"chunk without its end", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokGET", []int{400}, true},
	}
	for _, where := range []string{"local", "remote"} {
		t.Run(where, func(t *testing.T) {
			bubble(t, 2, func(s *site) {
				b, owner := s.bound()
				defer b.leaveConnections()
				at := owner
				if where == "remote" {
					at = s.others(owner)[0]
				}
				cookie := "\r\nCookie: " + cookieName + "=" + b.cookies[cookieName] + "\r\n"
				for _, c := range cases {
					statuses, closed := s.exchange(at, strings.Replace(c.request, "\r\n", cookie, 1)+next)
					if len(statuses) != len(c.statuses) || closed != c.closed || statuses[0] != c.statuses[0] {
						t.Errorf("%s: %v, closed %v, want %v, %v", c.name, statuses, closed, c.statuses, c.closed)
					}
				}
			})
		})
	}
}

// A client that goes away amid a chunk has sent nothing wrong.
func TestClientLeavesAmidAChunk(t *testing.T) {
	bubble(t, 1, func(s *site) {
		s.change(func(c *Settings) { c.AccessLog = AccessAll })
		c, err := s.users.DialContext(context.Background(), "tcp", s.nodes[0].ip+":80")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
		synctest.Wait()
		_ = c.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		if log := s.access.String(); !strings.Contains(log, "/upload") || strings.Contains(log, `"status":400`) {
			t.Errorf("log: %s", log)
		}
	})
}

func TestConnectionErrors(t *testing.T) {
	for _, err := range []error{io.ErrUnexpectedEOF, net.ErrClosed, &net.OpError{Op: "read", Err: errors.New("reset")}, http.ErrBodyReadAfterClose} {
		if !connectionError(err) {
			t.Errorf("%v is taken for bad framing", err)
		}
	}
	if connectionError(errors.New("invalid byte in chunk length")) {
		t.Error("bad framing is taken for a client that has gone")
	}
}
