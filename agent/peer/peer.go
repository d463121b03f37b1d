// Package peer is the vocabulary that the agent's packages share: who a node is,
// which engines it fronts, what state it is in and how loaded it says it is.
//
// It holds nouns and pure functions only. Nothing here talks to anything, and
// every value is safe to copy; slices inside a value are never changed after
// the value has been published.
package peer

import (
	"encoding/base32"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// ID names a node for ever: 16 lower-case base32 characters (80 random bits).
// It is also Raft's server ID and server address, and a DNS label in the node's
// certificate.
type ID string

const idLen = 16

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewID draws an ID from r, which must be a cryptographic source.
func NewID(r io.Reader) (ID, error) {
	var b [10]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return "", fmt.Errorf("draw node id: %w", err)
	}
	return ID(idEncoding.EncodeToString(b[:])), nil
}

// Valid reports whether id has the form that NewID makes.
func (id ID) Valid() bool {
	if len(id) != idLen {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}

// Short is the first eight characters, for tables and log lines that people read.
func (id ID) Short() string {
	if len(id) > 8 {
		return string(id[:8])
	}
	return string(id)
}

// EngineID names one engine of one node: "NODE-ID/NAME". Sessions, load and
// placement are by engine, never by node.
type EngineID string

// MakeEngineID joins a node and an engine's name on it.
func MakeEngineID(node ID, name string) EngineID { return EngineID(string(node) + "/" + name) }

// Node is the node that fronts the engine.
func (e EngineID) Node() ID {
	node, _, _ := strings.Cut(string(e), "/")
	return ID(node)
}

// Name is the engine's name on its node.
func (e EngineID) Name() string {
	_, name, _ := strings.Cut(string(e), "/")
	return name
}

// Valid reports whether both halves are well-formed.
func (e EngineID) Valid() bool {
	node, name, ok := strings.Cut(string(e), "/")
	return ok && ID(node).Valid() && ValidName(name)
}

// ValidName reports whether s can name an engine or a node: 1 to 63 characters of
// a-z, 0-9, '-' and '.', beginning and ending with a letter or digit (RFC 1123).
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 63 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alnum && (i == 0 || i == len(s)-1 || c != '-' && c != '.') {
			return false
		}
	}
	return true
}

// Class says what a node may do in the cluster.
type Class string

// A server stores the Raft log; an edge (reserved) is a door only.
const (
	ClassServer Class = "server"
	ClassEdge   Class = "edge"
)

// State is what the operator wants of a node, agreed through Raft.
type State string

// The states of a node at the door.
const (
	StateActive   State = "active"   // takes sessions
	StateDraining State = "draining" // keeps its sessions, takes no new ones
	StateStandby  State = "standby"  // takes none until promoted
)

// Valid reports whether s is one of the states above.
func (s State) Valid() bool {
	return s == StateActive || s == StateDraining || s == StateStandby
}

// Status is gossip's opinion of a node: a hint, never a decision.
type Status string

// What gossip can say of a node.
const (
	StatusAlive   Status = "alive"
	StatusSuspect Status = "suspect" // missed a probe; takes no new sessions, keeps its old ones
	StatusFailed  Status = "failed"
	StatusLeft    Status = "left"
	StatusUnknown Status = "unknown" // in the node table, never seen by gossip since we started
)

// Health is the agent's own opinion of an engine beside it.
type Health string

// The healths of an engine.
const (
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy" // failing probes: no new sessions, old ones stay
	Dead      Health = "dead"      // refuses connections: sessions move after engine.fail_after
)

// Peer is one node as gossip sees it now.
type Peer struct {
	ID      ID
	Boot    uint64 // counts the starts of this node; the highest wins
	Name    string
	Addr    string // host:port of the cluster port, as gossiped
	Version string // of the usher binary
	Class   Class
	Status  Status
	Since   time.Time // when Status last changed, by our clock
	Load    Load      // the last report; zero when there has been none
}

// Load is one report of a node about itself. Reports travel by gossip and are
// therefore stale by a second or more when they are read.
type Load struct {
	Seq           uint64    // grows with each report of one boot
	Received      time.Time // by our clock; not on the wire
	CPUPermille   int       // of all cores, 0 to 1000
	MemFreeBytes  uint64
	MemTotalBytes uint64
	Engines       []EngineLoad // sorted by Name
}

// EngineLoad is the part of a report that speaks of one engine.
type EngineLoad struct {
	Name      string
	Health    Health
	Sessions  int      // bound to the engine now, counted by its owner
	InFlight  int      // requests being answered now
	Permille  int      // the engine's own opinion, 0 to 1000; -1 when it reports none
	Documents []string // held in memory, sorted; at most MaxDocuments
}

// MaxDocuments bounds the documents that a report names per engine, so that
// gossip stays within its budget.
const MaxDocuments = 32

// Engine returns the part of the report about the named engine.
func (l Load) Engine(name string) (EngineLoad, bool) {
	i, ok := slices.BinarySearchFunc(l.Engines, name, func(e EngineLoad, n string) int {
		return strings.Compare(e.Name, n)
	})
	if !ok {
		return EngineLoad{}, false
	}
	return l.Engines[i], true
}
