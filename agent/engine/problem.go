package engine

import (
	"encoding/json"
	"strings"
	"unicode"
)

// The codes that an engine may answer a reload with. docs/engine.md says with
// which status.
const (
	CodeStaleFence = "stale_fence"        // 409: a higher token was seen for the document
	CodeRunning    = "reload_running"     // 409: the document is being reloaded
	CodeUnknown    = "unknown_document"   // 404
	CodeMalformed  = "malformed_document" // 422, with line and column where it can be said
	CodeBadRequest = "bad_request"        // 400
	CodeDenied     = "denied"             // 401 or 403
	CodeFailed     = "reload_failed"      // any other answer from 400 up
)

// The codes that an Engine adds itself.
const (
	CodeNotOffered  = "not_offered" // the engine has no reload call
	CodeUnreachable = "unreachable" // no connection, or it broke: whether the reload ran is not known
	CodeTimeout     = "timeout"     // no answer within the request's timeout
	CodeAborted     = "aborted"     // the caller's context ended
	CodeBadAnswer   = "bad_answer"  // a success that cannot be read
)

// Problem is an error body of the engine API: RFC 9457 with extension members.
type Problem struct {
	Type   string `json:"type,omitempty"`
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code,omitempty"`

	Error  string `json:"error,omitempty"`  // of a malformed document: what is wrong with it
	Line   int    `json:"line,omitempty"`   // counted from 1; 0 where unknown
	Column int    `json:"column,omitempty"` // counted from 1, in bytes; 0 where unknown
}

// maxMessage bounds what is kept of an engine's words: the scheduler's history
// has room for 2 KiB.
const maxMessage = 2 << 10

// parseProblem reads what it can; an engine that fails may fail at that, too.
func parseProblem(b []byte) (Problem, bool) {
	var p Problem
	if err := json.Unmarshal(b, &p); err != nil {
		return Problem{}, false
	}
	p.Line, p.Column = max(p.Line, 0), max(p.Column, 0)
	return p, true
}

// message is the most telling text of p.
func (p Problem) message() string {
	for _, s := range []string{p.Error, p.Detail, p.Title} {
		if s != "" {
			return clean(s)
		}
	}
	return ""
}

// clean makes a stranger's text fit for logs and tables: one line, bounded.
func clean(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage]
	}
	s = strings.ToValidUTF8(s, "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s))
}
