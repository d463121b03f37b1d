package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// backend is the engine behind every proxy. It answers /bytes/N with N bytes,
// /chunked/N with N bytes in 16 chunks, /echo with a WebSocket that echoes, and anything
// else with a line. Each answer is made once and written in one piece where the kernel
// takes it.
type backend struct {
	*loop
	listener int
	answers  map[string][]byte // by path
}

// serveBackend listens at the address until the driver is gone.
func serveBackend(address string) error {
	runtime.LockOSThread()
	l, err := openLoop()
	if err != nil {
		return err
	}
	b := &backend{loop: l, answers: map[string][]byte{}}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	if b.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(b.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.Bind(b.listener, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}),
		unix.Listen(b.listener, 4096),
		b.add(b.listener, b),
	)
	if err != nil {
		return fmt.Errorf("listen at %s: %w", address, err)
	}
	driver := os.Getppid()
	return b.run(func(time.Time) (bool, error) { return os.Getppid() != driver, nil })
}

// ready accepts.
func (b *backend) ready() error {
	for {
		fd, _, err := unix.Accept4(b.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("accept a connection: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			return fmt.Errorf("set up a connection: %w", err)
		}
		if err := b.add(fd, &served{b: b, fd: fd}); err != nil {
			return err
		}
	}
}

// served is a connection of a proxy.
type served struct {
	b      *backend
	fd     int
	in     []byte // the beginning of something that is not whole
	drain  int    // bytes of the request's body that are missing
	out    []byte // what is still to be written
	next   []byte // the answer, when the body has come
	socket bool   // frames instead of requests
}

// ready serves until there is nothing more. A proxy may close whenever it likes.
func (s *served) ready() error {
	if !s.flush() {
		s.b.drop(s.fd)
		return nil
	}
	for len(s.out) == 0 {
		n, err := s.read()
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil || n <= 0 || !s.flush() {
			s.b.drop(s.fd)
			return nil
		}
		if n < 64<<10 { // no more is there now; there will be another edge
			return nil
		}
	}
	return nil
}

// read takes what is there and prepares the answer.
func (s *served) read() (int, error) {
	if s.drain > 0 {
		n, err := discard(s.fd, s.b.buf, s.drain)
		if err != nil || n <= 0 {
			return n, err
		}
		s.took(n)
		return max(n, 64<<10), nil // the body's end may come right behind
	}
	n, err := unix.Read(s.fd, s.b.buf)
	if err != nil || n <= 0 {
		return n, err
	}
	p := s.b.buf[:n]
	if len(s.in) > 0 {
		s.in = append(s.in, p...)
		p = s.in
	}
	var rest []byte
	if s.socket {
		rest, err = s.frames(p)
	} else {
		rest, err = s.request(p)
	}
	s.in = append(s.in[:0], rest...)
	return n, err
}

// took counts n bytes of the body in.
func (s *served) took(n int) {
	if s.drain -= n; s.drain == 0 {
		s.out, s.next = s.next, nil
	}
}

func (s *served) flush() bool {
	for len(s.out) > 0 {
		n, err := unix.Write(s.fd, s.out)
		if errors.Is(err, unix.EAGAIN) {
			return true
		}
		if err != nil {
			return false
		}
		s.out = s.out[n:]
	}
	return true
}

var errRequest = errors.New("this is no request that a proxy would send here")

// request reads a head and what there is of the body; rest is a head that is not whole.
func (s *served) request(p []byte) (rest []byte, err error) {
	end := bytes.Index(p, []byte("\r\n\r\n"))
	if end < 0 {
		return p, nil
	}
	head, body := p[:end], p[end+4:]
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	_, path, ok := bytes.Cut(line, []byte(" "))
	path, _, ok2 := bytes.Cut(path, []byte(" "))
	if !ok || !ok2 {
		return nil, errRequest
	}
	var key []byte
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		switch {
		case fieldIs(line, "content-length:"):
			if s.drain, err = strconv.Atoi(string(bytes.TrimSpace(line[len("content-length:"):]))); err != nil {
				return nil, errRequest
			}
		case fieldIs(line, "transfer-encoding:"):
			s.drain = 1 << 40 // until the chunk of no bytes, below
		case fieldIs(line, "sec-websocket-key:"):
			key = bytes.TrimSpace(line[len("sec-websocket-key:"):])
		}
	}
	if s.drain == 1<<40 {
		return nil, errRequest // our users send lengths; no proxy here changes that
	}
	if key != nil {
		s.socket, s.out = true, accepted(string(key))
		return nil, nil
	}
	s.next = s.b.answer(path)
	if len(body) > s.drain {
		return nil, errRequest
	}
	s.took(len(body))
	return nil, nil
}

// answer is made at the first request for the path.
func (b *backend) answer(path []byte) []byte {
	if made, ok := b.answers[string(path)]; ok {
		return made
	}
	const head = "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
	way, number, _ := strings.Cut(strings.TrimPrefix(string(path), "/"), "/")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > 64*mib {
		n = len("ready\n")
	}
	body := pattern(n)
	made := []byte(head + "Content-Length: " + strconv.Itoa(n) + "\r\n\r\n")
	if way == "chunked" {
		made = []byte(head + "Transfer-Encoding: chunked\r\n\r\n")
		for chunk := range chunksOf(body, 16) {
			made = fmt.Appendf(made, "%x\r\n%s\r\n", len(chunk), chunk)
		}
		body = []byte("0\r\n\r\n")
	}
	made = append(made, body...)
	b.answers[string(path)] = made
	return made
}

// frames echoes; rest is a frame that is not whole.
func (s *served) frames(p []byte) (rest []byte, err error) {
	for {
		f, n, err := nextFrame(p)
		if err != nil || n == 0 {
			return p, err
		}
		p = p[n:]
		switch f.first {
		case textFrame, closeFrame:
			s.out = appendFrame(s.out, f.first, f.payload, false)
		case pingFrame:
			s.out = appendFrame(s.out, pongFrame, f.payload, false)
		case pongFrame:
		default:
			return nil, errFrame
		}
	}
}
