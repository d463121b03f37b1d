package engine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const (
	maxHead = 64 << 10 // of an answer: status line, fields and interim answers together
	maxBody = 64 << 10 // of an answer
)

// call is one request to the engine.
type call struct {
	method string
	target string // origin-form
	body   []byte // JSON; nil sends none
	secret bool   // send the engine API's secret if one is configured
}

// answer is what came back. Body is at most maxBody bytes; cut says that there
// was more.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool
}

// exchange makes one call on a connection of its own. net/http's Transport is
// not used: its goroutines outlive a call that was given up, and its head limit
// cannot be shared with the body. ctx must have a deadline; when it ends, the
// connection is closed, which is how the engine learns of an abort.
func (e *Engine) exchange(ctx context.Context, c call) (answer, error) {
	head, err := e.head(c)
	if err != nil {
		return answer{}, err
	}
	conn, err := e.connect(ctx)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	if _, err := conn.Write(append(head, c.body...)); err != nil {
		return answer{}, fmt.Errorf("write request: %w", ended(ctx, err))
	}
	ans, err := readAnswer(conn, c.method)
	if err != nil {
		return answer{}, fmt.Errorf("read answer: %w", ended(ctx, err))
	}
	return ans, nil
}

// ended puts the reason why ctx ended in the place of an error that only follows
// from it.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (e *Engine) head(c call) ([]byte, error) {
	host := e.cfg.HostHeader
	if host == "" {
		host = e.cfg.URL.Host
	}
	var b bytes.Buffer
	b.WriteString(c.method + " " + c.target + " HTTP/1.1\r\nHost: " + host +
		"\r\nUser-Agent: usher\r\nAccept: application/json, */*;q=0.1\r\nConnection: close\r\n")
	if c.secret && e.cfg.API.SecretFile != "" {
		s, err := ReadSecret(e.cfg.API.SecretFile)
		if err != nil {
			return nil, err
		}
		b.WriteString("Authorization: Bearer " + s + "\r\n")
	}
	if c.body != nil {
		b.WriteString("Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(c.body)) + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes(), nil
}

// readAnswer reads one final answer from r, within maxHead and maxBody.
func readAnswer(r io.Reader, method string) (answer, error) {
	limited := &io.LimitedReader{R: r, N: maxHead}
	br := bufio.NewReader(limited)
	for range 8 { // interim answers
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			if limited.N <= 0 {
				return answer{}, fmt.Errorf("the head is longer than %d bytes", maxHead)
			}
			return answer{}, err
		}
		if res.StatusCode/100 == 1 {
			continue
		}
		limited.N = maxBody + 4<<10 // and the framing of chunks
		return readBody(res, limited)
	}
	return answer{}, errors.New("more than 8 interim answers")
}

func readBody(res *http.Response, limited *io.LimitedReader) (answer, error) {
	defer func() { _ = res.Body.Close() }()
	ans := answer{status: res.StatusCode, header: res.Header}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if len(body) > maxBody {
		ans.body, ans.cut = body[:maxBody], true
		return ans, nil
	}
	ans.body = body
	if err != nil && limited.N <= 0 { // our limit, not the engine's fault
		ans.cut, err = true, nil
	}
	return ans, err
}

// isJSON reports whether the answer says that it is JSON. Many engines answer
// any path with their start page, so a 200 alone means nothing.
func (a answer) isJSON() bool {
	t, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}
