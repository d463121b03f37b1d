package upstream

import (
	"errors"
	"fmt"
	"os"
)

// Errors that are told apart with errors.Is.
var (
	// ErrBadField means that the request itself cannot be written: a method,
	// target, host, field or length is not fit for the wire. Nothing was sent.
	ErrBadField = errors.New("request is not fit for the wire")
	// ErrNoAnswer means that the connection ended before one byte of an answer
	// came. The engine may have acted on the request.
	ErrNoAnswer = errors.New("engine closed the connection without an answer")
	// ErrCut means that Pool.CutSilent ended the exchange. The engine may have acted
	// on the request.
	ErrCut = errors.New("connection was cut: the other end is silent")
	// ErrPoolClosed is inside the NotSentError of a request after Close.
	ErrPoolClosed = errors.New("pool is closed")
	// ErrPinBusy means that a pinned connection is still reading an earlier answer.
	ErrPinBusy = errors.New("pinned connection is in use")

	errBodyClosed = errors.New("body was closed")
	errBodyShort  = errors.New("body ended before its content length")
)

// NotSentError means that the engine cannot have acted on the request, or that
// acting twice does no harm: it may be sent elsewhere, whatever its method,
// provided that its body is still whole.
type NotSentError struct{ Err error }

func (e *NotSentError) Error() string { return "request not sent: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *NotSentError) Unwrap() error { return e.Err }

// Phase is a part of an exchange that has a time limit of its own.
type Phase string

// The phases.
const (
	PhaseDial Phase = "dial" // always inside a NotSentError
	PhaseSend Phase = "send" // the request's head or body stalled, at the engine or at its source
	PhaseHead Phase = "head" // no answer head within HeadTimeout after the request was sent
	PhaseBody Phase = "body" // the answer's body stalled for BodyIdle
)

// TimeoutError means that a phase took longer than its limit. It is a net.Error
// and matches os.ErrDeadlineExceeded.
type TimeoutError struct{ Phase Phase }

func (e *TimeoutError) Error() string { return "time limit passed in phase " + string(e.Phase) }

// Timeout implements net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e *TimeoutError) Temporary() bool { return false }

// Unwrap returns os.ErrDeadlineExceeded.
func (e *TimeoutError) Unwrap() error { return os.ErrDeadlineExceeded }

// BadAnswerError means that the engine broke HTTP/1.1. Reason is a constant
// phrase without any byte of the answer, fit for logs and metrics.
type BadAnswerError struct{ Reason string }

func (e *BadAnswerError) Error() string { return "bad answer from engine: " + e.Reason }

// BodyError means that the request's own body could not be read: the client, not
// the engine, is to blame.
type BodyError struct{ Err error }

func (e *BodyError) Error() string { return "read request body: " + e.Err.Error() }

// Unwrap returns what Body.Read, or its length, said.
func (e *BodyError) Unwrap() error { return e.Err }

func bad(reason string) error { return &BadAnswerError{Reason: reason} }

func badField(what string) error { return fmt.Errorf("%w: %s", ErrBadField, what) }

// isTimeout reports whether a deadline that was set on the socket has passed. A
// net.Error's Timeout would also be true of ETIMEDOUT, which is the peer's end.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
