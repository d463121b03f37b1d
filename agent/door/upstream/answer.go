package upstream

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
)

// What an engine may send before a body, and after a chunked one.
const (
	maxHead          = 64 << 10
	maxFields        = 200
	maxTrailer       = 16 << 10
	maxInformational = 32
)

// answerHead is one parsed head. Its strings share one piece of memory.
type answerHead struct {
	minor  int // of HTTP/1.x
	status int
	reason string
	header http.Header
}

// readHead appends lines to b up to and with the empty one, at most limit bytes.
// It looks at line ends only.
func readHead(br *bufio.Reader, b []byte, limit int) ([]byte, error) {
	line := 0 // where the present line begins
	for {
		piece, err := br.ReadSlice('\n')
		b = append(b, piece...)
		if len(b) > limit {
			return b, bad("head is too long")
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(b) > 0:
			return b, io.ErrUnexpectedEOF
		case err != nil:
			return b, err
		}
		if len(b)-line < 2 || b[len(b)-2] != '\r' {
			return b, bad("line ends in a bare line feed")
		}
		if len(b)-line == 2 {
			return b, nil
		}
		line = len(b)
	}
}

// parseAnswer parses a head as readHead gives it.
func parseAnswer(s string) (answerHead, error) {
	line, rest := cutLine(s)
	h, err := parseStatusLine(line)
	if err != nil {
		return h, err
	}
	h.header, err = parseFields(rest)
	return h, err
}

func cutLine(s string) (line, rest string) {
	i := strings.IndexByte(s, '\n')
	return s[:i-1], s[i+1:]
}

// parseStatusLine follows RFC 9112 4, but takes a line that lacks the space before
// an empty reason, as many engines write it.
func parseStatusLine(s string) (answerHead, error) {
	const version, code = len("HTTP/1.x "), 3
	var h answerHead
	if len(s) < version+code || s[:7] != "HTTP/1." || s[7] != '0' && s[7] != '1' || s[8] != ' ' {
		return h, bad("status line is not HTTP/1.0 or 1.1")
	}
	h.minor = int(s[7] - '0')
	for _, c := range []byte(s[version : version+code]) {
		if c < '0' || c > '9' {
			return h, bad("status is not three digits")
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return h, bad("status is out of range")
	}
	reason := s[version+code:]
	if reason != "" && reason[0] != ' ' || !isFieldValue(reason) {
		return h, bad("reason phrase")
	}
	if reason != "" {
		h.reason = reason[1:]
	}
	return h, nil
}

// parseFields parses field lines up to the empty one that ends s (RFC 9112 5).
func parseFields(s string) (http.Header, error) {
	n := strings.Count(s, "\n") - 1
	if n > maxFields {
		return nil, bad("too many fields")
	}
	h := make(http.Header, n)
	values := make([]string, n) // one allocation for the common case of one value a name
	for s != "\r\n" {
		var line string
		line, s = cutLine(s)
		colon := strings.IndexByte(line, ':')
		switch {
		case line[0] == ' ' || line[0] == '\t':
			return nil, bad("folded field line")
		case colon < 0:
			return nil, bad("field line without a colon")
		case !isToken(line[:colon]):
			return nil, bad("field name")
		}
		name, value := http.CanonicalHeaderKey(line[:colon]), trimOWS(line[colon+1:])
		if !isFieldValue(value) {
			return nil, bad("control character in a field value")
		}
		if old := h[name]; old != nil {
			h[name] = append(old, value)
			continue
		}
		values[0] = value
		h[name], values = values[:1:1], values[1:]
	}
	return h, nil
}
