package fsm

import (
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Stamp is a point in time as the state stores it: nanoseconds since the Unix
// epoch, UTC, stamped by a leader. Zero means never.
type Stamp int64

// StampOf converts; the zero time becomes the zero stamp, and a time that a stamp
// cannot hold (before 1678 or after 2262) the nearest one that it can.
func StampOf(t time.Time) Stamp {
	switch {
	case t.IsZero():
		return 0
	case t.Year() >= 2262:
		return 1<<63 - 1
	case t.Year() <= 1678:
		return -1 << 63
	}
	return Stamp(t.UnixNano())
}

// Time converts back, in UTC; the zero stamp becomes the zero time.
func (s Stamp) Time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(s)).UTC()
}

// Add returns s moved by d.
func (s Stamp) Add(d time.Duration) Stamp { return s + Stamp(d) }

// Match is a compare-and-set condition on a row. The zero Match holds always.
type Match uint64

// Absent holds when there is no row yet. Any other non-zero Match holds when the
// row's Modified revision is exactly that.
const Absent Match = 1<<64 - 1

// Meta is carried by every row: the revisions that made it and changed it last.
type Meta struct {
	Created  uint64
	Modified uint64
}

// CommandID is the 128-bit name of one command, drawn at random by whoever
// proposes it first and kept over every retry.
type CommandID [16]byte

// ActorKind says how whoever asked was known.
type ActorKind uint8

// Kinds of actors.
const (
	ActorNone  ActorKind = iota
	ActorNode            // an agent, by its certificate
	ActorToken           // a caller with an API token
	ActorLocal           // a caller on an agent's own socket
)

// Actor is whoever asked for a command. Commands of people and tokens leave an
// audit row; commands of agents do not.
type Actor struct {
	Kind ActorKind
	ID   string // node ID, token ID, or user name on the socket
	Via  peer.ID
}

// Audited reports whether the actor's commands leave audit rows.
func (a Actor) Audited() bool { return a.Kind == ActorToken || a.Kind == ActorLocal }

// String is the form that audit lists show, such as "token:abcd" or "node:xyz".
func (a Actor) String() string {
	switch a.Kind {
	case ActorNode:
		return "node:" + a.ID
	case ActorToken:
		return "token:" + a.ID
	case ActorLocal:
		return "local:" + a.ID
	}
	return "none"
}

// Proposal is one command on its way into the log.
type Proposal struct {
	ID      CommandID // zero: consensus draws one
	Known   uint64    // the revision the proposer had seen at its first try
	Actor   Actor
	Command Command
}

// Result is what became of a command: the same on every replica, and again on a
// repeat of the same ID.
type Result struct {
	Revision uint64 // the command's own
	Code     Code   // "" when it was carried out
	Message  string // what was wrong, for people
	Repeated bool   // this ID had been applied before; nothing was done now
}

// Err is nil when the command was carried out, an *Error otherwise.
func (r Result) Err() error {
	if r.Code == "" {
		return nil
	}
	return &Error{Code: r.Code, Message: r.Message, Revision: r.Revision}
}

// Code is a stable name of a refusal; the API shows it to programs.
type Code string

// Refusals.
const (
	CodeInvalid   Code = "invalid"   // the command makes no sense; repeat will not help
	CodeNotFound  Code = "not_found" // the row it names is not there
	CodeExists    Code = "exists"    // the name is taken
	CodeConflict  Code = "conflict"  // a compare-and-set did not hold
	CodeExpired   Code = "expired"   // token too old; or a repeat older than the memory of results
	CodeExhausted Code = "exhausted" // used up
	CodeRevoked   Code = "revoked"
	CodeRemoved   Code = "removed" // the node was removed from the cluster
	CodeState     Code = "state"   // the row is not in a state that allows it
	CodeLimit     Code = "limit"   // a bound of the state would be exceeded
	CodeFeature   Code = "feature" // not every server knows this command yet
)

// Error is a refusal by the state. It is deterministic: asking again gives the
// same answer until the state changes.
type Error struct {
	Code     Code
	Message  string
	Revision uint64
}

func (e *Error) Error() string { return e.Message }

// IsCode reports whether err is a refusal with the given code.
func IsCode(err error, c Code) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == c
}

func refuse(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Message: fmt.Sprintf(format, args...)}
}

// Bounds of the state.
const (
	MaxCommandBytes = 64 << 10  // one encoded command
	MaxEntryBytes   = 256 << 10 // one Raft entry
	MaxEntryItems   = 256
	MaxOutputBytes  = 2 << 10 // of a run's output kept in the row
	MemorySize      = 1 << 17 // commands whose results are remembered
	MaxAudit        = 100_000 // audit rows kept
	MaxNodes        = 1_000
	MaxTasks        = 10_000
	MaxTokens       = 10_000
	MaxNameBytes    = 128
)
