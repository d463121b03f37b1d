package admin

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Backend is what the API shows and changes: the rest of the agent. All methods
// are safe for concurrent use.
//
// An error that is a *fsm.Error or a *Problem is a refusal and shown as it is;
// consensus.ErrNoQuorum, consensus.ErrUnknown, consensus.ErrBusy and the context's errors have codes
// of their own. Any other is a defect: it is logged, and the caller learns no more
// than that.
type Backend interface {
	// View is the state as this node knows it.
	View() fsm.View
	// Read is the state as a majority confirms it, wherever the leader is. It gives up
	// after ten seconds, if ctx does not end before.
	Read(ctx context.Context) (fsm.View, error)
	// Apply proposes a command, wherever the leader is. When it was asked for with
	// a token, ctx carries that for the leader to check: see Forwarder.
	Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error)
	// ReadHere and ProposeAll are the same on the leader alone, for calls that came
	// from a Forwarder: they fail elsewhere and never forward again. Each command has
	// its own outcome; one that certainly was not proposed has a *consensus.NotSentError.
	ReadHere(ctx context.Context) (fsm.View, error)
	ProposeAll(ctx context.Context, ps []fsm.Proposal) []consensus.Outcome
	// Nudge tells a follower at once what is committed. It does not wait.
	Nudge(id peer.ID)

	Self() peer.ID
	Raft() RaftStatus
	// LogEnd is the newest entry of Raft's log that this node has, acknowledged or not.
	LogEnd() (index, term uint64)
	// Peers is gossip's view, with load reports, this node included.
	Peers() []peer.Peer
	// Local is what only this node knows.
	Local() Local

	// Count is how many sessions this node's engines have at this moment.
	Count() Count
	// Sessions are those of this node's own engines, in any order. The filter is a
	// hint: more than it asks for does no harm.
	Sessions(f LocalFilter) []Session
	// CloseSession ends one of them; false when it is not here.
	CloseSession(id string) bool

	// MoveCentral hands the central role to the voter to, or to any other when to
	// is "". It returns when this node's part of that is done.
	MoveCentral(ctx context.Context, to peer.ID) error
	// RemoveNode checks that the voters which remain are a majority, unless force,
	// and applies p, whose command is a *fsm.RemoveNode.
	RemoveNode(ctx context.Context, p fsm.Proposal, force bool) (fsm.Result, error)
	// Admit answers a machine that wants to join, for a node that is not the leader.
	Admit(ctx context.Context, r identity.JoinRequest, via peer.ID) (identity.JoinAnswer, *identity.JoinError)
	// Forget takes the vote and the place in Raft from a node whose data directory was
	// rolled back, wherever the leader is.
	Forget(ctx context.Context, id peer.ID) error
	// Snapshot writes the state as this node has it, sealed to the recovery key; confirmed
	// says whether a majority has confirmed that it is the newest.
	Snapshot(w io.Writer, confirmed bool) error
	// DialBack tries whether a joining machine answers at addr, host:port, with the
	// proof of its nonce.
	DialBack(ctx context.Context, addr string, nonce []byte) error
}

// RaftStatus is the state of consensus on this node.
type RaftStatus struct {
	State                                      string // leader, follower, candidate, ...
	Leader                                     peer.ID
	Term, LastIndex, CommitIndex, AppliedIndex uint64
	Voters, Nonvoters                          []peer.ID
	Quorum                                     bool
	// LastContact is how long ago this node last knew that it was up to date:
	// zero on a leader, negative when it never was.
	LastContact time.Duration
}

// Local is what a node alone knows of itself; also the answer to
// GET /v1/internal/local.
type Local struct {
	Meta
	Version  string        `json:"version"`
	Started  time.Time     `json:"started"`
	Door     string        `json:"door"`
	API      string        `json:"api"`
	Engines  []LocalEngine `json:"engines"`
	Warnings []string      `json:"warnings"` // sentences for an operator
	Count    *Count        `json:"count,omitempty"`
}

// LocalEngine is an engine as the agent beside it knows it.
type LocalEngine struct {
	Name         string      `json:"name"`
	URL          string      `json:"url"`
	Health       peer.Health `json:"health"`
	Since        time.Time   `json:"since,omitzero"`
	Error        string      `json:"error,omitempty"`
	Sessions     int         `json:"sessions"`
	InFlight     int         `json:"in_flight"`
	LoadPermille *int        `json:"load_permille"` // null: the engine reports none
	Documents    []string    `json:"documents"`
}

// LocalFilter narrows the sessions of a node; empty fields match all.
type LocalFilter struct {
	Engine   string // name
	Document string
}

// Config is what a Server works with.
type Config struct {
	Backend Backend
	// Forwarder asks other nodes. Nil: there are none.
	Forwarder *Forwarder

	// Hosts are the names and addresses, without ports, by which the TCP listener
	// may be called, beside localhost, 127.0.0.1 and ::1. Any other Host is
	// refused, so that a web page cannot reach the API by a name of its own.
	Hosts []string
	// SocketUser says who is at the other end of the socket; an error refuses.
	// Nil asks the operating system: see SystemUser.
	SocketUser func(net.Conn) (string, error)

	ValidateTask    func(fsm.Task) error
	NextDue         func(task fsm.Task, after time.Time, n int) []time.Time
	ValidateSetting func(key, value string) error // beyond what package fsm checks; nil: nothing

	// Metrics answers GET /metrics; nil: 404. With OpenMetrics it needs no token
	// from loopback addresses.
	Metrics     http.Handler
	OpenMetrics bool

	// Debug is what the agent shows of itself when it is looked into.
	Debug Debug

	Now        func() time.Time      // nil: time.Now
	Rand       io.Reader             // of tokens' secrets; nil: crypto/rand
	Log        zerolog.Logger        // for the component admin
	Registerer prometheus.Registerer // nil: metrics are not registered
}
