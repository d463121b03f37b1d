package fsm

import (
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Rows are encoded as arrays in field order: fields are only ever appended.
// A row that has been stored is never changed; commands store a changed copy.

// Cluster is the one row that says which cluster this is.
type Cluster struct {
	Meta
	UUID           string
	Name           string
	Roots          [][]byte // DER of the trusted CA certificates; the first one signs
	RecoveryPublic []byte   // public half of the recovery key
	FeatureLevel   uint32   // kinds of commands above it are not proposed yet
	Born           Stamp
}

// Setting is a value that an operator has set; see Schema for the defaults.
type Setting struct {
	Meta
	Key   string
	Value string // canonical text
	By    string // actor
	At    Stamp
}

// Node is a member of the cluster, alive or not.
type Node struct {
	Meta
	ID           peer.ID
	Name         string
	Class        peer.Class
	Addr         string // cluster port, host:port
	Door         string // door, host:port, as users on the same network reach it
	State        peer.State
	StateUntil   Stamp // a drain's deadline; zero for none
	StateReason  string
	Weight       int // 1 to 1000, 100 by default
	Priority     int // lower is promoted first
	Tags         []string
	PublicName   string // the name users may reach this door by
	SealKey      []byte // HPKE public key
	KeyHash      []byte // SHA-256 of the certificate's public key
	FeatureLevel uint32
	Version      string
	Boot         uint64 // counts starts
	Nonce        []byte // drawn at that start; tells a rolled-back data directory
	Joined       Stamp
	Engines      []string // names, sorted
}

// Removed names a node that may never come back with this identity.
type Removed struct {
	Meta
	ID   peer.ID
	Name string
	At   Stamp
}

// JoinToken lets machines join. The secret itself is never stored.
type JoinToken struct {
	Meta
	ID      string
	Hash    []byte   // SHA-256, see identity
	Uses    int      // distinct machines that may use it
	UsedBy  [][]byte // hashes of the public keys that did, in order
	Expires Stamp
	Replace string // name of the node whose place the joiner takes; "" for none
	Revoked Stamp
	By      string
	Born    Stamp
}

// Role bounds what an API token may do.
type Role string

// Roles, each including those before it.
const (
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Includes reports whether r may do what needs may do.
func (r Role) Includes(needs Role) bool {
	rank := map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}
	return rank[r] > 0 && rank[r] >= rank[needs]
}

// Token is an API token. The secret itself is never stored.
type Token struct {
	Meta
	ID      string
	Name    string
	Hash    []byte
	Role    Role
	Expires Stamp // zero: never
	Revoked Stamp
	By      string
	Born    Stamp
}

// DataKey is the key under which secrets are sealed, wrapped once for each server.
type DataKey struct {
	Meta
	ID    uint64
	Wraps []Wrap // sorted by node
}

// Wrap is a data key sealed to one server's own key.
type Wrap struct {
	Node   peer.ID
	Sealed []byte
}

// Secret is a value sealed under a data key.
type Secret struct {
	Meta
	Name   string
	KeyID  uint64
	Sealed []byte
	At     Stamp
}

// Task is a scheduled job.
type Task struct {
	Meta
	Name     string
	Document string        // what is reloaded
	Engine   string        // name of the engine that runs it; "" for any
	Tag      string        // nodes that may run it; "" for any
	Cron     string        // either a cron expression, or
	Every    time.Duration // an interval counted from Start
	Zone     string        // IANA time zone of Cron; "" is UTC
	Start    Stamp         // no occurrence before it; the origin of Every
	Attempts int           // tries of one occurrence, at least 1
	Timeout  time.Duration // of one attempt
	CatchUp  time.Duration // an occurrence later than this is recorded as missed
	Paused   bool
	Reason   string // why it is paused
	Cursor   Stamp  // the latest due time that has a record
	By       string
}

// OccurrenceState is where an occurrence stands.
type OccurrenceState string

// States of an occurrence; the last five are terminal.
const (
	OccurrencePending   OccurrenceState = "pending" // asked for, or waiting for its next attempt
	OccurrenceClaimed   OccurrenceState = "claimed" // a node was told to run it
	OccurrenceStarted   OccurrenceState = "started" // that node said it is about to launch
	OccurrenceSucceeded OccurrenceState = "succeeded"
	OccurrenceFailed    OccurrenceState = "failed"
	OccurrenceLost      OccurrenceState = "lost"    // the node vanished and no attempts are left
	OccurrenceMissed    OccurrenceState = "missed"  // nobody could run it in time
	OccurrenceSkipped   OccurrenceState = "skipped" // the one before was still running, or the task was removed
)

// Terminal reports whether nothing more will happen to the occurrence.
func (s OccurrenceState) Terminal() bool {
	switch s {
	case OccurrencePending, OccurrenceClaimed, OccurrenceStarted:
		return false
	}
	return true
}

// Occurrence is one due time of a task.
type Occurrence struct {
	Meta
	Task    string
	Due     Stamp // nominal
	Manual  bool  // asked for by hand
	State   OccurrenceState
	Attempt int    // the current or last one, from 1
	Fence   uint64 // revision of the current claim: the fencing token
	Node    peer.ID
	Engine  string
	Created Stamp
	Claimed Stamp
	Started Stamp
	Renewed Stamp // last acknowledged renewal of the lease
	Ended   Stamp
	Retry   Stamp // a pending one is not claimed before
	Rows    int64
	Took    time.Duration // of the engine's work, last attempt
	Error   string
	Output  string    // at most MaxOutputBytes
	History []Attempt // earlier attempts
}

// Attempt is one ended try of an occurrence.
type Attempt struct {
	Number  int
	Node    peer.ID
	Fence   uint64
	Started Stamp // zero: claimed, never started
	Ended   Stamp
	State   OccurrenceState
	Error   string
}

// Audit is one thing that a person or a program with a token asked for.
type Audit struct {
	Revision uint64
	At       Stamp
	Actor    string
	Via      peer.ID
	Action   string // name of the command, such as "setting.set"
	Target   string
	Detail   string // never a secret
	Code     Code   // "" when it was carried out
}
