package admin

import (
	"encoding/json"
	"net/http"
)

// Problem is an error of the API: a problem document (RFC 9457) with a stable code
// and the step to take.
type Problem struct {
	Type   string `json:"type"` // urn:usher:problem:CODE
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   Code   `json:"code"`
	Next   string `json:"next,omitempty"` // what to do about it

	// MaybeDone says that the request was carried out, or may have been or may still be. Without
	// it no_quorum, busy and all with a status below 500 say that nothing was done.
	MaybeDone bool `json:"maybe_done,omitempty"`

	Revision   uint64 `json:"-"` // X-Usher-Index
	RetryAfter int    `json:"-"` // seconds; 0: not said
}

// Error is the detail alone; Next is for whoever shows it.
func (p *Problem) Error() string {
	if p.Detail != "" {
		return p.Detail
	}
	return p.Title
}

// Code is the stable name of a problem. The refusals of package fsm appear under
// their own names: see fsm.Code.
type Code string

// Codes beside those of package fsm.
const (
	CodeInvalid         Code = "invalid"         // 400 malformed, 422 refused by the state
	CodeUnauthenticated Code = "unauthenticated" // 401
	CodeDenied          Code = "denied"          // 403
	CodeCrossOrigin     Code = "cross_origin"    // 403, a browser on another site
	CodeNotFound        Code = "not_found"       // 404
	CodeMethod          Code = "method_not_allowed"
	CodeConflict        Code = "conflict"     // 409
	CodeRemoved         Code = "removed"      // 410
	CodePrecondition    Code = "precondition" // 412
	CodeTooLarge        Code = "too_large"    // 413
	CodeMediaType       Code = "unsupported_media_type"
	CodeWrongHost       Code = "wrong_host"      // 421
	CodeTooMany         Code = "rate_limited"    // 429
	CodeInternal        Code = "internal"        // 500
	CodeUnreachable     Code = "unreachable"     // 502, another node did not answer
	CodeNoQuorum        Code = "no_quorum"       // 503
	CodeBusy            Code = "busy"            // 503, too many commands wait; nothing was done
	CodeNotLeader       Code = "not_leader"      // 503, between agents only
	CodeBehind          Code = "behind"          // 503, done, but this node has not seen it yet
	CodeClosing         Code = "closing"         // 503, the agent stops
	CodeUnknownOutcome  Code = "unknown_outcome" // 504
	CodeTimeout         Code = "timeout"         // 504
)

// json is the document; none for no problem.
func (p *Problem) json() []byte {
	if p == nil {
		return nil
	}
	b, _ := json.Marshal(p) // texts and numbers can be encoded
	return b
}

// problemIn reads a document; nil when it is none.
func problemIn(b []byte) *Problem {
	p := new(Problem)
	if err := json.Unmarshal(b, p); err != nil || p.Code == "" {
		return nil
	}
	return p
}

const problemType = "application/problem+json"

// problem makes a Problem; the title is the status's own name.
func problem(status int, code Code, detail, next string) *Problem {
	return &Problem{
		Type: "urn:usher:problem:" + string(code), Title: http.StatusText(status),
		Status: status, Detail: detail, Code: code, Next: next,
	}
}
