package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// maxAnswer bounds the body of an answer.
const maxAnswer = 1 << 20

// Answer is what the admin API answered. Body is valid until the next exchange.
type Answer struct {
	Status int
	Index  uint64 // X-Usher-Index: the revision that it shows
	Stale  bool   // X-Usher-Stale
	Body   []byte
}

// Conn is one kept connection to an admin API, for one goroutine. It does what
// net/http's client does at a fraction of the processor time, which belongs to
// whoever is being measured.
type Conn struct {
	addr    string
	timeout time.Duration
	c       net.Conn // nil: not connected
	r       *bufio.Reader
	body    []byte
}

// NewConn makes a connection to host:port or to the path of a socket, at the first
// exchange. The timeout is for one exchange.
func NewConn(addr string, timeout time.Duration) *Conn {
	return &Conn{addr: addr, timeout: timeout, r: bufio.NewReaderSize(nil, 8<<10)}
}

// Do sends a whole request and reads its answer. After an error the connection is
// closed, the outcome is unknown, and the next exchange connects anew.
func (c *Conn) Do(request []byte) (Answer, error) {
	a, err := c.exchange(request)
	if err != nil {
		c.Close()
	}
	return a, err
}

func (c *Conn) exchange(request []byte) (Answer, error) {
	if c.c == nil {
		network := "tcp"
		if strings.HasPrefix(c.addr, "/") {
			network = "unix"
		}
		conn, err := net.DialTimeout(network, c.addr, c.timeout)
		if err != nil {
			return Answer{}, fmt.Errorf("connect: %w", err)
		}
		c.c = conn
		c.r.Reset(conn)
	}
	if err := c.c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return Answer{}, err
	}
	if _, err := c.c.Write(request); err != nil {
		return Answer{}, fmt.Errorf("send: %w", err)
	}
	a, err := readAnswer(c.r, c.body)
	c.body = a.Body
	return a, err
}

// SetTimeout bounds exchanges from now on.
func (c *Conn) SetTimeout(d time.Duration) { c.timeout = d }

// Close ends the connection; it may be used again.
func (c *Conn) Close() {
	if c.c != nil {
		c.c.Close()
		c.c = nil
	}
}

// readAnswer reads the part of HTTP/1.1 (RFC 9112) that the admin API answers with:
// a status line, a head, and a body of known length, for which it takes buf if that
// is large enough.
func readAnswer(r *bufio.Reader, buf []byte) (Answer, error) {
	a := Answer{Body: buf[:0]}
	line, err := readLine(r)
	if err != nil {
		return a, err
	}
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/1.1 "))
	if !ok || len(rest) < 3 {
		return a, fmt.Errorf("no status line: %q", line)
	}
	if a.Status, err = strconv.Atoi(string(rest[:3])); err != nil || a.Status < 200 {
		return a, fmt.Errorf("no status that ends an exchange: %q", line)
	}
	length := -1
	for {
		if line, err = readLine(r); err != nil {
			return a, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(name) { // as Go's server spells them
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return a, fmt.Errorf("read the length of the answer: %w", err)
			}
		case "X-Usher-Index":
			if a.Index, err = strconv.ParseUint(string(value), 10, 64); err != nil {
				return a, fmt.Errorf("read the revision of the answer: %w", err)
			}
		case "X-Usher-Stale":
			a.Stale = true
		}
	}
	if length < 0 || length > maxAnswer {
		return a, fmt.Errorf("the answer's length is %d, and has to be 0 to %d", length, maxAnswer)
	}
	if cap(a.Body) < length {
		a.Body = make([]byte, length)
	}
	a.Body = a.Body[:length]
	if _, err := io.ReadFull(r, a.Body); err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	return a, nil
}

var errLongLine = errors.New("a line of the answer's head is too long")

func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errLongLine
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

// Request makes the bytes of a request, with a token if there is one.
func Request(method, path, host, token, body string) []byte {
	b := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	if token != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", token)
	}
	if body != "" {
		b = fmt.Appendf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
	}
	return append(append(b, '\r', '\n'), body...)
}
