package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	defaultReload = time.Hour
	maxReload     = 24 * time.Hour

	// reloadGrace is how long the engine may take to report its own timeout.
	reloadGrace = 5 * time.Second
)

// ReloadRequest asks an engine to read a document anew. It is the body of POST
// reload as well.
type ReloadRequest struct {
	Document   string    `json:"document"`
	Task       string    `json:"task,omitempty"`
	Occurrence time.Time `json:"occurrence,omitzero"` // when it was due; zero for a reload by hand
	Attempt    int       `json:"attempt,omitempty"`   // from 1

	// Fence is the token that orders the attempts on one document: an engine
	// refuses one that is lower than the highest it has seen. 0 is unfenced.
	Fence uint64 `json:"fence,omitempty"`

	// TimeoutSeconds is when the engine gives up by itself; 0 is an hour, a day
	// is the most.
	TimeoutSeconds int `json:"timeout_seconds,omitempty"`
}

// Validate reports the first thing that no engine could make sense of.
func (r ReloadRequest) Validate() error {
	if err := checkKey(r.Document); err != nil {
		return fmt.Errorf("reload: document: %w", err)
	}
	switch {
	case len(r.Task) > MaxDocumentKey:
		return fmt.Errorf("reload: the task's name is longer than %d bytes", MaxDocumentKey)
	case r.Attempt < 0:
		return fmt.Errorf("reload: attempt %d is negative", r.Attempt)
	case r.TimeoutSeconds < 0 || r.TimeoutSeconds > int(maxReload/time.Second):
		return fmt.Errorf("reload: timeout_seconds %d: use 1 to %d", r.TimeoutSeconds, int(maxReload/time.Second))
	}
	return nil
}

// Timeout is TimeoutSeconds as a duration, with its default.
func (r ReloadRequest) Timeout() time.Duration {
	if r.TimeoutSeconds == 0 {
		return defaultReload
	}
	return time.Duration(r.TimeoutSeconds) * time.Second
}

// ReloadResult is what an engine says of a reload that it finished. All of it is
// optional.
type ReloadResult struct {
	Rows       int64  `json:"rows"`
	DurationMS int64  `json:"duration_ms"`
	Message    string `json:"message,omitempty"`
}

// ReloadError is why a reload did not succeed.
type ReloadError struct {
	Code    string // one of the Code constants
	Message string // one line, at most 2 KiB; may be empty
	Line    int    // in the document's source, from 1; 0 where unknown
	Column  int    // in bytes, from 1; 0 where unknown

	// Permanent says that another attempt of the same occurrence cannot do
	// better. A malformed document is not permanent: it may be half written.
	Permanent bool

	Err error // the cause on our side, if it was there
}

// Error implements error.
func (e *ReloadError) Error() string {
	s := "reload: " + e.Code
	if e.Line > 0 {
		s += fmt.Sprintf(" at line %d, column %d", e.Line, e.Column)
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Unwrap returns the cause on our side.
func (e *ReloadError) Unwrap() error { return e.Err }

var errReloadTimeout = errors.New("the engine did not answer in time")

// Reload asks the engine to reload a document and waits for the end: at most the
// request's timeout and 5 s. When ctx ends the connection is closed, which is
// how an engine learns of an abort. It never repeats the call. The error is a
// *ReloadError, or plain if r is invalid.
func (e *Engine) Reload(ctx context.Context, r ReloadRequest) (ReloadResult, error) {
	if err := r.Validate(); err != nil {
		return ReloadResult{}, err
	}
	if e.cfg.API.Off {
		return e.reloaded(ReloadResult{}, &ReloadError{Code: CodeNotOffered, Message: "the engine API is switched off", Permanent: true})
	}
	r.TimeoutSeconds = int(r.Timeout() / time.Second)
	body, err := json.Marshal(r)
	if err != nil {
		return ReloadResult{}, fmt.Errorf("encode reload: %w", err)
	}
	cctx, cancel := context.WithTimeoutCause(ctx, r.Timeout()+reloadGrace, errReloadTimeout)
	defer cancel()
	ans, err := e.exchange(cctx, call{method: http.MethodPost, target: e.cfg.API.Prefix + "reload", body: body, secret: true})
	if err != nil {
		return e.reloaded(ReloadResult{}, lostReload(ctx, cctx, err))
	}
	return e.reloaded(judgeReload(ans))
}

// reloaded counts an outcome and turns a nil *ReloadError into a nil error.
func (e *Engine) reloaded(res ReloadResult, err *ReloadError) (ReloadResult, error) {
	if err == nil {
		e.metrics.reload("ok")
		return res, nil
	}
	e.metrics.reload(err.Code)
	return res, err
}

// lostReload is the error of a call that got no answer.
func lostReload(caller, call context.Context, err error) *ReloadError {
	re := &ReloadError{Code: CodeUnreachable, Message: clean(err.Error()), Err: err}
	switch {
	case caller.Err() != nil:
		re.Code, re.Err = CodeAborted, caller.Err()
	case call.Err() != nil:
		re.Code, re.Err = CodeTimeout, context.Cause(call)
	}
	return re
}

// judgeReload reads an answer to POST reload.
func judgeReload(ans answer) (ReloadResult, *ReloadError) {
	if ans.status/100 == 2 {
		return judgeReloaded(ans)
	}
	p, isProblem := Problem{}, false
	if ans.isJSON() && !ans.cut {
		p, isProblem = parseProblem(ans.body)
	}
	re := &ReloadError{Message: p.message(), Line: p.Line, Column: p.Column}
	if re.Message == "" {
		re.Message = fmt.Sprintf("the engine answered %d", ans.status)
	}
	known := isProblem && p.Code != ""
	switch s := ans.status; {
	case s == http.StatusConflict && p.Code == CodeStaleFence:
		re.Code, re.Permanent = CodeStaleFence, true
	case s == http.StatusConflict:
		re.Code = CodeRunning
	case s == http.StatusNotFound && known:
		re.Code, re.Permanent = CodeUnknown, true
	case s == http.StatusUnprocessableEntity:
		re.Code = CodeMalformed
	case s == http.StatusBadRequest && known:
		re.Code, re.Permanent = CodeBadRequest, true
	case s == http.StatusGatewayTimeout && p.Code == CodeTimeout:
		re.Code = CodeTimeout
	case ans.denied():
		re.Code, re.Permanent = CodeDenied, true
	case s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusNotImplemented, s < 400:
		re.Code, re.Permanent = CodeNotOffered, true
	default:
		re.Code = CodeFailed
	}
	return ReloadResult{}, re
}

// judgeReloaded reads a success. One that is not JSON is the start page of an
// engine that answers any path: it must not pass for a reload.
func judgeReloaded(ans answer) (ReloadResult, *ReloadError) {
	var res ReloadResult
	if ans.status == http.StatusNoContent {
		return res, nil
	}
	if ans.status != http.StatusOK || !ans.isJSON() {
		return res, &ReloadError{Code: CodeNotOffered, Permanent: true,
			Message: fmt.Sprintf("the engine answered %d without JSON", ans.status)}
	}
	if ans.cut {
		return res, &ReloadError{Code: CodeBadAnswer, Message: fmt.Sprintf("the answer is longer than %d bytes", maxBody)}
	}
	if err := json.Unmarshal(ans.body, &res); err != nil {
		return ReloadResult{}, &ReloadError{Code: CodeBadAnswer, Message: clean(err.Error()), Err: err}
	}
	res.Rows, res.DurationMS, res.Message = max(res.Rows, 0), max(res.DurationMS, 0), clean(res.Message)
	return res, nil
}
