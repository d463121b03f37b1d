package http1

import (
	"errors"
	"strconv"
)

// Error says what is wrong with a message. The connection that it came over cannot be
// used any more, because nobody knows where the next message begins: answer, and close.
type Error struct {
	// Status is the answer to the sender: for a request 400, 405 (which owes the client
	// an Allow field), 413, 414, 417, 431, 501 or 505; for a response 502.
	Status int
	// Reason is a constant phrase without anything that the sender wrote.
	Reason string
	// Offset counts bytes to the fault: from the beginning of the head, of the trailer
	// section, or else of the body as it came, with its framing.
	Offset int64
}

// Error gives reason and place.
func (e *Error) Error() string {
	return e.Reason + " at byte " + strconv.FormatInt(e.Offset, 10)
}

// ErrUnread is returned when a head is asked for while the body before it has not been
// read to its end.
var ErrUnread = errors.New("the body before was not read to its end")

// ErrValue is returned by the Append functions for what may not be written.
var ErrValue = errors.New("character that is not allowed in a field")

func bad(at int, reason string) *Error { return &Error{Status: 400, Reason: reason, Offset: int64(at)} }

func fault(status, at int, reason string) *Error {
	return &Error{Status: status, Reason: reason, Offset: int64(at)}
}
