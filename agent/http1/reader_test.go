package http1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script is a connection on which the same bytes come, at most step at a time.
type script struct {
	net.Conn
	in   string
	step int
	loop bool // for ever
	at   int
}

func (s *script) Read(p []byte) (int, error) {
	if s.at == len(s.in) {
		if !s.loop {
			return 0, io.EOF
		}
		s.at = 0
	}
	n := copy(p, s.in[s.at:min(len(s.in), s.at+s.step)])
	s.at += n
	return n, nil
}

// readAll reads the body.
func readAll(r *Reader) (string, error) {
	var all strings.Builder
	for {
		p, err := r.ReadBody()
		if errors.Is(err, io.EOF) {
			return all.String(), nil
		}
		if err != nil {
			return all.String(), err
		}
		if len(p) == 0 {
			return "", errors.New("a piece of nothing")
		}
		all.Write(p)
	}
}

func TestPipelinedRequests(t *testing.T) {
	const in = post + "Content-Length: 3\r\n\r\nabc" + get + "\r\n" +
		post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x\r\ndefg\r\n0\r\nX: y\r\n\r\n" + get + "Z: 1\r\n\r\n"
	want := []string{`POST "abc" []`, `GET "" []`, `POST "abcdefg" [[X y]]`, `GET "" []`}
	for _, step := range []int{1, 2, 3, 5, 8, 13, 1 << 20} {
		pool := NewBuffers(Limits{})
		r := NewReader(&script{in: strings.Repeat(in, 100), step: step}, pool)
		for i := range 100 * len(want) {
			q, err := r.ReadRequest()
			if err != nil {
				t.Fatalf("step %d, request %d: %v", step, i, err)
			}
			body, err := readAll(r)
			if err != nil {
				t.Fatalf("step %d, body %d: %v", step, i, err)
			}
			if got := fmt.Sprintf("%s %q %v", q.Method, body, pairs(r.Trailer())); got != want[i%len(want)] {
				t.Fatalf("step %d, request %d: %s", step, i, got)
			}
		}
		if _, err := r.ReadRequest(); err != io.EOF || r.b != nil {
			t.Errorf("at the end: %v, buffer held %v", err, r.b != nil)
		}
	}
}

// The head must hold while the body passes through the same buffer, whatever its size.
func TestHeadHoldsWhileTheBodyIsRead(t *testing.T) {
	data := strings.Repeat("0123456789", 10<<10)
	var chunked strings.Builder
	for i := 0; i < len(data); i += 1000 {
		fmt.Fprintf(&chunked, "%x\r\n%s\r\n", min(1000, len(data)-i), data[i:min(len(data), i+1000)])
	}
	trailer := "0\r\nX-Sum: " + strings.Repeat("z", 4000) + "\r\n\r\n"
	for size := 100; size <= 32<<10; size += 509 {
		for _, kind := range []string{"Content-Length: 102400\r\n\r\n" + data, "Transfer-Encoding: chunked\r\n\r\n" + chunked.String() + trailer} {
			first := post + "X: " + strings.Repeat("x", max(0, size-len(post)-40)) + "\r\n" + kind
			pool := NewBuffers(Limits{})
			r := NewReader(&script{in: get + "\r\n" + first + get + "\r\n", step: 5000}, pool)
			if _, err := r.ReadRequest(); err != nil {
				t.Fatal(err)
			}
			q, err := r.ReadRequest()
			if err != nil {
				t.Fatal(size, err)
			}
			before := look(q, 1)
			if v, _ := q.Get("x"); string(q.Method) != "POST" || string(q.Path) != "/" || string(q.Host) != "a" || strings.Trim(string(v), "x") != "" {
				t.Fatalf("head of %d: %s %s %s", size, q.Method, q.Path, q.Host)
			}
			body, err := readAll(r)
			if err != nil || body != data {
				t.Fatalf("head of %d: %d bytes, %v", size, len(body), err)
			}
			if diff := cmp.Diff(before, look(q, 1)); diff != "" {
				t.Fatalf("head of %d changed while the body was read:\n%s", size, diff)
			}
			if v, _ := r.Trailer().Get("x-sum"); q.Chunked && len(v) != 4000 {
				t.Fatalf("trailer of %d bytes", len(v))
			}
			if _, err = r.ReadRequest(); err != nil {
				t.Fatal(size, err)
			}
		}
	}
}

// A large head must not leave its buffer with those who read small ones.
func TestLargeBufferIsGivenBack(t *testing.T) {
	pool := NewBuffers(Limits{})
	r := NewReader(&script{in: get + "X: " + strings.Repeat("x", 20<<10) + "\r\n\r\n", step: 1000}, pool)
	if _, err := r.ReadRequest(); err != nil || r.b.large == nil {
		t.Fatal(err)
	}
	b := r.b
	if r.Release(); b.large != nil || len(b.buf) != smallBuffer {
		t.Errorf("a block of %d bytes went back", len(b.buf))
	}
}

func TestWhereTheConnectionEnds(t *testing.T) {
	for _, c := range []struct {
		name, in string
		head     error
		body     error
	}{
		{"at once", "", io.EOF, nil},
		{"in the head", "GET / HT", io.ErrUnexpectedEOF, nil},
		{"before the body", post + "Content-Length: 1\r\n\r\n", nil, io.ErrUnexpectedEOF},
		{"in the body", post + "Content-Length: 2\r\n\r\na", nil, io.ErrUnexpectedEOF},
		{"in a chunk", post + "Transfer-Encoding: chunked\r\n\r\n2\r\na", nil, io.ErrUnexpectedEOF},
		{"in a trailer", post + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", nil, io.ErrUnexpectedEOF},
		{"behind the body", post + "Content-Length: 1\r\n\r\na", nil, nil},
	} {
		r := NewReader(&script{in: c.in, step: 100}, NewBuffers(Limits{}))
		if _, err := r.ReadRequest(); !errors.Is(err, c.head) {
			t.Errorf("%s: head: %v", c.name, err)
			continue
		}
		if _, err := readAll(r); !errors.Is(err, c.body) {
			t.Errorf("%s: body: %v", c.name, err)
		}
	}
}

func TestReadResponses(t *testing.T) {
	const in = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + // to HEAD
		"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest"
	r := NewReader(&script{in: in, step: 7}, NewBuffers(Limits{}))
	for i, want := range []string{"100 HEAD ", "200 HEAD ", "204 GET ", "200 GET a", "200 GET rest"} {
		method := strings.Fields(want)[1]
		p, err := r.ReadResponse([]byte(method))
		if err != nil {
			t.Fatal(i, err)
		}
		body, err := readAll(r)
		if got := fmt.Sprintf("%d %s %s", p.Status, method, body); err != nil || got != want {
			t.Errorf("%d: %s, %v, want %s", i, got, err, want)
		}
	}
	if _, err := r.ReadResponse([]byte("GET")); err != io.EOF {
		t.Error(err)
	}
}

func TestResponseHeadHoldsWhileTheBodyIsRead(t *testing.T) {
	value, data := strings.Repeat("x", 5000), strings.Repeat("0123456789", 5000)
	r := NewReader(&script{in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Fine\r\nX: " + value + "\r\nContent-Length: 50000\r\n\r\n" + data, step: 1 << 20}, NewBuffers(Limits{}))
	if _, err := r.ReadResponse([]byte("GET")); err != nil {
		t.Fatal(err)
	}
	p, err := r.ReadResponse([]byte("GET"))
	if err != nil {
		t.Fatal(err)
	}
	body, err := readAll(r)
	if v, _ := p.Get("x"); err != nil || body != data || string(v) != value || string(p.Reason) != "Fine" {
		t.Errorf("%v, body %v, value %v, reason %q", err, body == data, string(v) == value, p.Reason)
	}
}

func TestUnreadBody(t *testing.T) {
	r := NewReader(&script{in: post + "Content-Length: 2\r\n\r\nab" + get + "\r\n", step: 1000}, NewBuffers(Limits{}))
	if _, err := r.ReadRequest(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.ReadRequest(); !errors.Is(err, ErrUnread) {
		t.Errorf("ReadRequest: %v", err)
	}
	if err := r.Wait(); !errors.Is(err, ErrUnread) {
		t.Errorf("Wait: %v", err)
	}
	if s, err := readAll(r); s != "ab" || err != nil {
		t.Errorf("%q, %v", s, err)
	}
	if q, err := r.ReadRequest(); err != nil || string(q.Method) != "GET" {
		t.Error(err)
	}
}

func TestUpgradeLeavesTheRest(t *testing.T) {
	const frames = "\x81\x05hello"
	r := NewReader(&script{in: get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + frames, step: 1000}, NewBuffers(Limits{}))
	if q, err := r.ReadRequest(); err != nil || !q.WebSocket || string(r.Buffered()) != frames {
		t.Errorf("%v, %q", err, r.Buffered())
	}
	if r.Release(); r.Buffered() != nil || r.b != nil {
		t.Error("the buffer is still held")
	}
}

func TestBodyTakenElsewhere(t *testing.T) {
	s := &script{in: post + "Content-Length: 10\r\n\r\nabc" + "defghij" + get + "\r\n", step: len(post+"Content-Length: 10\r\n\r\n") + 2} // the first byte comes alone
	r := NewReader(s, NewBuffers(Limits{}))
	if _, err := r.ReadRequest(); err != nil || r.Left() != 0 {
		t.Fatalf("%v, %d left while there are bytes in the buffer", err, r.Left())
	}
	if p, err := r.ReadBody(); string(p) != "abc" || err != nil || r.Left() != 7 {
		t.Fatalf("%q, %v, %d left", p, err, r.Left())
	}
	s.at += 7
	r.Took(7)
	if _, err := r.ReadBody(); err != io.EOF {
		t.Error(err)
	}
	if q, err := r.ReadRequest(); err != nil || string(q.Method) != "GET" {
		t.Error(err)
	}
}

// A deadline that passes loses nothing, neither in a head nor in a body nor between.
func TestGoesOnAfterATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		r := NewReader(here, NewBuffers(Limits{}))
		const in = post + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n"
		go func() {
			for _, c := range []byte(in) {
				time.Sleep(time.Minute)
				_, _ = there.Write([]byte{c})
			}
		}()
		again := func(read func() error) {
			t.Helper()
			timeouts := 0
			for {
				_ = here.SetReadDeadline(time.Now().Add(25 * time.Second))
				err := read()
				if err == nil {
					break
				}
				if timeouts++; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatal(err)
				}
			}
			if timeouts == 0 {
				t.Error("no deadline passed")
			}
		}
		again(func() error {
			err := r.Wait()
			if (r.b == nil) != (err != nil) {
				t.Errorf("buffer held %v while waiting: %v", r.b != nil, err)
			}
			return err
		})
		again(func() error { _, err := r.ReadRequest(); return err })
		body := ""
		again(func() error {
			for {
				p, err := r.ReadBody()
				if body += string(p); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
			}
		})
		if v, _ := r.Trailer().Get("x"); body != "abc" || string(v) != "y" {
			t.Errorf("%q, %q", body, v)
		}
	})
}
