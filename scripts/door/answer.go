package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// answer reads one HTTP/1.1 answer from pieces as they come. It is frugal instead of
// strict: it believes the proxy's framing and checks that the length is the expected one.
// The zero value is ready, and reset makes it ready again.
type answer struct {
	status  int
	close   bool // the connection ends with it
	done    bool
	got     int    // bytes of the body so far
	head    []byte // while it is not whole
	inBody  bool
	chunked bool
	left    int // bytes of the body, or of the chunk and its CRLF, that are missing
	last    bool
	line    []byte // a line of the chunked framing that is not whole
}

var (
	errNoAnswer = errors.New("this is no HTTP/1.1 answer with a known length")
	errSurplus  = errors.New("more came than the answer holds")
)

func (a *answer) reset() {
	*a = answer{head: a.head[:0], line: a.line[:0]}
}

// missing is how many bytes of the body can be taken without a look at them.
func (a *answer) missing() int {
	if !a.inBody || a.chunked {
		return 0
	}
	return a.left
}

// skip counts n bytes of the body that nobody looked at; n is at most missing.
func (a *answer) skip(n int) {
	a.got += n
	a.left -= n
	a.done = a.left == 0
}

// feed takes a piece. What comes after the answer's end is an error.
func (a *answer) feed(p []byte) error {
	if !a.inBody {
		rest, err := a.readHead(p)
		if err != nil || !a.inBody {
			return err
		}
		p = rest
	}
	if a.chunked {
		return a.readChunks(p)
	}
	if len(p) > a.left {
		return errSurplus
	}
	a.skip(len(p))
	return nil
}

func (a *answer) readHead(p []byte) (rest []byte, err error) {
	whole := p
	if len(a.head) > 0 {
		a.head = append(a.head, p...)
		whole = a.head
	}
	end := bytes.Index(whole, []byte("\r\n\r\n"))
	if end < 0 {
		if len(a.head) == 0 {
			a.head = append(a.head, p...)
		}
		if len(a.head) > 64<<10 {
			return nil, errNoAnswer
		}
		return nil, nil
	}
	rest = whole[end+4:]
	if err := a.parseHead(whole[:end]); err != nil {
		return nil, err
	}
	return rest, nil
}

func (a *answer) parseHead(head []byte) error {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return errNoAnswer
	}
	a.status = int(head[9]-'0')*100 + int(head[10]-'0')*10 + int(head[11]-'0')
	a.left = -1
	for len(head) > 0 {
		var line []byte
		line, head, _ = bytes.Cut(head, []byte("\r\n"))
		switch {
		case fieldIs(line, "content-length:"):
			n, err := strconv.Atoi(string(bytes.TrimSpace(line[len("content-length:"):])))
			if err != nil || n < 0 {
				return errNoAnswer
			}
			a.left = n
		case fieldIs(line, "transfer-encoding:"):
			a.chunked = true
		case fieldIs(line, "connection:"):
			a.close = bytes.EqualFold(bytes.TrimSpace(line[len("connection:"):]), []byte("close"))
		}
	}
	if a.status == 101 {
		a.left, a.chunked = 0, false
	}
	if a.left < 0 && !a.chunked {
		return errNoAnswer
	}
	if a.chunked {
		a.left = 0
	}
	a.inBody = true
	a.done = a.left == 0 && !a.chunked
	return nil
}

func fieldIs(line []byte, name string) bool {
	return len(line) >= len(name) && line[0]|0x20 == name[0] && strings.EqualFold(string(line[:len(name)]), name)
}

// readChunks goes through SIZE CRLF DATA CRLF, until the chunk of no bytes and CRLF.
func (a *answer) readChunks(p []byte) error {
	for len(p) > 0 {
		if a.done {
			return errSurplus
		}
		if a.left > 0 {
			n := min(a.left, len(p))
			a.left -= n
			p = p[n:]
			continue
		}
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		a.line = append(a.line, line...)
		if !whole {
			return nil
		}
		p = rest
		if err := a.chunkLine(bytes.TrimSuffix(a.line, []byte("\r"))); err != nil {
			return err
		}
		a.line = a.line[:0]
	}
	return nil
}

func (a *answer) chunkLine(line []byte) error {
	if a.last {
		a.done = len(line) == 0 // else a trailer
		return nil
	}
	size, err := strconv.ParseUint(string(line), 16, 31)
	if err != nil {
		return fmt.Errorf("read the size of a chunk: %w", err)
	}
	a.last = size == 0
	a.got += int(size)
	if !a.last {
		a.left = int(size) + len("\r\n")
	}
	return nil
}

// check says whether it is a 200 with so many bytes.
func (a *answer) check(size int) error {
	if a.status != 200 || a.got != size {
		return fmt.Errorf("answered %d with %d bytes instead of 200 with %d", a.status, a.got, size)
	}
	return nil
}
