package upstream

import (
	"net/http"
	"strings"
)

type framing uint8

const (
	noBody framing = iota
	sized
	chunked
	untilClose
)

// bodyPlan is how the body of an answer is framed (RFC 9112 6.3) and whether its
// connection may carry another exchange.
type bodyPlan struct {
	framing framing
	length  int64 // of the body when sized; else as announced, or -1
	keep    bool
}

// planBody decides from a head. It removes repeated equal Content-Lengths from it.
func planBody(h answerHead, method string) (bodyPlan, error) {
	length, err := contentLength(h.header)
	if err != nil {
		return bodyPlan{}, err
	}
	coded, err := transferCoded(h, length)
	if err != nil {
		return bodyPlan{}, err
	}
	p := bodyPlan{length: length, keep: h.minor == 1 && !hasElement(h.header["Connection"], "close")}
	switch {
	case h.status < 200 && (coded || length > 0):
		return bodyPlan{}, bad("informational answer with a body")
	case h.status < 200 || h.status == http.StatusNoContent:
		// Whoever announces a body here may well send one: it must not become the
		// beginning of the next answer.
		p.keep = p.keep && !coded && length <= 0
		p.length = 0
	case method == http.MethodHead || h.status == http.StatusNotModified:
	case coded:
		p.framing = chunked
	case length == 0:
	case length > 0:
		p.framing = sized
	default:
		p.framing, p.keep = untilClose, false
	}
	return p, nil
}

// contentLength returns -1 if there is none.
func contentLength(h http.Header) (int64, error) {
	values := h["Content-Length"]
	if len(values) == 0 {
		return -1, nil
	}
	n, err := parseLength(values[0])
	if err != nil {
		return 0, err
	}
	for _, v := range values[1:] {
		if m, err := parseLength(v); err != nil || m != n {
			return 0, bad("differing content lengths")
		}
	}
	h["Content-Length"] = values[:1]
	return n, nil
}

func parseLength(s string) (int64, error) {
	const maxDigits = 18 // fits int64
	if s == "" || len(s) > maxDigits {
		return 0, bad("content length")
	}
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, bad("content length")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// transferCoded reports whether the message is chunked. Everything that two readers
// could read differently is refused.
func transferCoded(h answerHead, length int64) (bool, error) {
	codings := h.header["Transfer-Encoding"]
	for _, name := range h.header["Trailer"] {
		for n := range strings.SplitSeq(name, ",") {
			if forbiddenTrailer(trimOWS(n)) {
				return false, bad("trailer announces a framing field")
			}
		}
	}
	switch {
	case len(codings) == 0:
		return false, nil
	case length >= 0:
		return false, bad("content length with transfer encoding")
	case h.minor == 0:
		return false, bad("transfer encoding in HTTP/1.0")
	case len(codings) > 1 || !strings.EqualFold(codings[0], "chunked"):
		return false, bad("transfer encoding is not chunked")
	}
	return true, nil
}
