package bench

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestExchange(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Usher-Index", "812")
		if r.URL.Query().Has("stale") {
			w.Header().Set("X-Usher-Stale", "true")
		}
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), body)
	}))
	defer server.Close()
	host := server.Listener.Addr().String()
	c := NewConn(host, 5*time.Second)
	defer c.Close()
	for _, tc := range []struct {
		request []byte
		want    Answer
	}{
		{Request("PUT", "/v1/settings/k", host, "t", `{"value":"1"}`), Answer{Status: 202, Index: 812, Body: []byte(`PUT /v1/settings/k Bearer t application/json {"value":"1"}`)}},
		{Request("GET", "/v1/settings/k?stale", host, "t", ""), Answer{Status: 202, Index: 812, Stale: true, Body: []byte(`GET /v1/settings/k?stale Bearer t  `)}},
	} {
		got, err := c.Do(tc.request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestReadAnswerRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"another protocol":   "SSH-2.0\r\n\r\n",
		"an interim answer":  "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
		"no length":          "HTTP/1.1 200 OK\r\n\r\n",
		"a negative length":  "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"far too long":       "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n" + strings.Repeat("x", maxAnswer+1),
		"a revision of text": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Usher-Index: x\r\n\r\n",
		"half a body":        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab",
		"an endless line":    "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 10000) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			if a, err := readAnswer(bufio.NewReader(strings.NewReader(text)), nil); err == nil {
				t.Errorf("accepted as %+v", a)
			}
		})
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Usher-Index: 7\r\n\r\n{}")
	f.Add("HTTP/1.1 503 Service Unavailable\nContent-Length: 0\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := readAnswer(bufio.NewReader(strings.NewReader(text)), nil)
		if err == nil && (a.Status < 200 || a.Status > 999 || len(a.Body) > maxAnswer || !strings.Contains(text, string(a.Body))) {
			t.Errorf("%q was read as %+v", text, a)
		}
	})
}
