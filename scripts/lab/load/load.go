// Package load is the laboratory's clients: they write settings, compare and set, read,
// ask for runs of tasks, and hold sessions at the doors, and record how each try ended.
package load

import (
	"context"
	"net"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
)

// Node is one agent as clients reach it.
type Node struct {
	Name  string
	API   string // host:port, http://host:port, or unix:/path
	Door  string // host:port
	Token string // of an admin; may be empty on a socket
}

// Config says what load there is. Only Nodes and Rec are required; a zero count leaves
// that sort of client out.
type Config struct {
	Nodes []Node
	Seed  uint64
	Rec   *history.Recorder

	Writers   int // of settings
	Comparers int // read a setting, then write it under If-Match
	Readers   int // of settings; every third reads stale
	Tasks     int // tasks with a schedule and runs by hand
	Sessions  int // at the doors

	SocketShare int    // every n-th session is a WebSocket; 0: none
	Document    string // that sessions open and tasks reload
	// DialEngine connects to an engine's address (loopback) on the machine of a node, for its
	// counters; nil dials directly.
	DialEngine func(ctx context.Context, node, address string) (net.Conn, error)

	Pace Pace
}

// Pace is how often each client does something. Zero fields get their defaults.
type Pace struct {
	Setting time.Duration // between two operations of a writer, comparer or reader: 40 ms
	Session time.Duration // between two requests of a session: 2 s
	Message time.Duration // between two messages on a WebSocket: 1 s
	Run     time.Duration // between two runs of a task by hand: 5 s
	Every   time.Duration // of the tasks' schedule: 2 s
}

// Load is clients at work.
type Load struct{}

// Start returns when all sessions are open and each kind has had an operation
// acknowledged. When ctx ends the clients go on until Stop: it bounds the start alone.
func Start(ctx context.Context, c Config) (*Load, error) { return &Load{}, nil }

// Lost tells that a node was killed, paused, cut or drained, and Back that it is well
// again: marks in the history. at is Recorder.Now.
func (l *Load) Lost(node string, at time.Duration) {}

// Back is the end of Lost.
func (l *Load) Back(node string, at time.Duration) {}

// Stop ends all clients and waits for them, at most until ctx ends.
func (l *Load) Stop(ctx context.Context) error { return nil }

// Acknowledged counts the operations that were acknowledged so far.
func (l *Load) Acknowledged() map[history.Kind]int { return nil }

// Counts is what the engines counted, of all their lives.
func (l *Load) Counts() []history.Count { return nil }

// Schedules are the tasks with a schedule, for history.Input.
func (l *Load) Schedules() []history.Schedule { return nil }
