package history

import "time"

// Kind is what was tried.
type Kind string

// Kinds of operations. Lost and Back are marks: a fault took a node away, or gave it back.
const (
	Write         Kind = "write"
	CompareAndSet Kind = "compare-and-set"
	Read          Kind = "read"
	StaleRead     Kind = "stale read"
	Task          Kind = "task"    // a run by hand was asked for
	Request       Kind = "request" // of a session, at a door
	Message       Kind = "message" // over a session's WebSocket, or the opening of one
	Lost          Kind = "lost"
	Back          Kind = "back"
)

// Kinds are those of operations, without marks.
func Kinds() []Kind {
	return []Kind{Write, CompareAndSet, Read, StaleRead, Task, Request, Message}
}

// Outcome is what the client knows of the end of an operation.
type Outcome string

// Outcomes. An operation that was refused has not happened and never will; one whose
// outcome is unknown may have happened, and may still happen at any later time.
const (
	OK      Outcome = "ok"
	Refused Outcome = "refused"
	Unknown Outcome = "unknown"
)

// Precondition is the Detail of a compare-and-set that was refused because the row had
// changed: a statement about the state, which other refusals are not.
const Precondition = "precondition"

// Opened is the Detail of a message that was the opening of a WebSocket.
const Opened = "opened"

// Op is one try at one operation. Which fields are set depends on the kind:
//
//	write            Key, Value; Revision: of the row, 0 when the answer already showed a later one,
//	                 and then Index is that later row's revision
//	compare-and-set  the same; Expected: the revision that the row had to have
//	read             Key, Value, Revision of the row as it was shown; Index: the state's revision
//	stale read       the same; Stale: the answer was labelled
//	task             Key: the task; Value: the ID of the occurrence that was made
//	request          Key: the session's number; Node: the door; Value: the node whose engine
//	                 answered; Owner: the node whose engine it belonged to before
//	message          the same. Where its WebSocket broke, Begin is the last answer on that, and
//	                 Sent when the user sent what was not answered, or saw it break
//	lost, back       Node; Begin
type Op struct {
	Client   int           `json:"c"`
	Kind     Kind          `json:"k"`
	Node     string        `json:"n,omitempty"` // that was asked
	Key      string        `json:"key,omitempty"`
	Value    string        `json:"v,omitempty"`
	Owner    string        `json:"own,omitempty"`
	Expected uint64        `json:"exp,omitempty"`
	Revision uint64        `json:"rev,omitempty"`
	Index    uint64        `json:"idx,omitempty"`
	Stale    bool          `json:"stale,omitempty"`
	Begin    time.Duration `json:"b"` // nanoseconds since the run began, on the monotonic clock
	End      time.Duration `json:"e"` // the same; of an unknown outcome when the client gave up
	Sent     time.Duration `json:"s,omitempty"`
	Outcome  Outcome       `json:"o,omitempty"`
	Detail   string        `json:"d,omitempty"` // why it was refused or is unknown
}
