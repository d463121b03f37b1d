package upstream

import (
	"bufio"
	"errors"
	"io"
	"net/http"
)

const (
	maxChunkDigits    = 15      // fits int64
	maxChunkExtension = 8 << 10 // of a whole body; the extensions themselves are ignored
)

// chunkReader decodes a chunked body (RFC 9112 7.1) strictly.
type chunkReader struct {
	left      int64 // of the present chunk
	inside    bool  // a chunk's data, or the CRLF after it, is next
	extension int   // bytes of extensions so far
	trailer   http.Header
}

// read is io.Reader.Read; it returns io.EOF after the trailers.
func (c *chunkReader) read(br *bufio.Reader, p []byte) (int, error) {
	if !c.inside {
		size, err := c.size(br)
		if err != nil {
			return 0, unexpected(err)
		}
		if size == 0 {
			c.trailer, err = readTrailer(br)
			if err != nil {
				return 0, unexpected(err)
			}
			return 0, io.EOF
		}
		c.left, c.inside = size, true
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := br.Read(p)
	c.left -= int64(n)
	if err != nil || c.left > 0 {
		return n, unexpected(err)
	}
	c.inside = false
	return n, unexpected(endChunk(br))
}

// size reads a line with a chunk's size.
func (c *chunkReader) size(br *bufio.Reader) (int64, error) {
	line, err := br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return 0, bad("chunk line is too long")
	}
	if err != nil {
		return 0, err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return 0, bad("chunk line ends in a bare line feed")
	}
	line = line[:len(line)-2]
	var size int64
	i := 0
	for ; i < len(line); i++ {
		d, ok := hexDigit(line[i])
		if !ok {
			break
		}
		if i == maxChunkDigits {
			return 0, bad("chunk size is too large")
		}
		size = size<<4 | int64(d)
	}
	if i == 0 {
		return 0, bad("chunk size")
	}
	return size, c.skipExtension(line[i:])
}

func (c *chunkReader) skipExtension(ext []byte) error {
	if len(ext) == 0 {
		return nil
	}
	c.extension += len(ext)
	switch s := string(ext); {
	case c.extension > maxChunkExtension:
		return bad("chunk extensions are too long")
	case s[0] != ';', !isFieldValue(s):
		return bad("chunk extension")
	}
	return nil
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func endChunk(br *bufio.Reader) error {
	for _, want := range []byte("\r\n") {
		c, err := br.ReadByte()
		if err != nil {
			return err
		}
		if c != want {
			return bad("chunk is not followed by a line end")
		}
	}
	return nil
}

// readTrailer returns nil if there is none.
func readTrailer(br *bufio.Reader) (http.Header, error) {
	b, err := readHead(br, nil, maxTrailer)
	if err != nil {
		return nil, err
	}
	if len(b) == 2 {
		return nil, nil
	}
	h, err := parseFields(string(b))
	if err != nil {
		return nil, err
	}
	for name := range h {
		if forbiddenTrailer(name) {
			return nil, bad("framing field in the trailer")
		}
	}
	return h, nil
}

// unexpected turns an end of the connection into what it is within a body.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
