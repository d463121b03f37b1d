package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
)

// Engine is an engine beside this agent. Its methods are safe for concurrent use
// and, but for Dial, do not block.
type Engine interface {
	Name() string
	Host() string                               // host:port, for logs
	Dial(ctx context.Context) (net.Conn, error) // may be called often; reports refusals to Health by itself
	Health() (peer.Health, time.Time)           // and since when
	MaxSessions() int                           // 0 for no limit
	HostHeader() string                         // sent to the engine as Host; "" preserves the user's
}

// Peers is how the door reaches the doors of other agents, and they this one.
type Peers struct {
	// Listener hands out authenticated connections of usher/session/1. The door
	// closes it.
	Listener net.Listener
	// Remote says which agent is at the other end of a connection from Listener;
	// "" refuses it.
	Remote func(net.Conn) peer.ID
	// Dial opens an authenticated usher/session/1 connection.
	Dial func(ctx context.Context, to peer.ID) (net.Conn, error)
}

// NodeInfo is what the door needs to know of a node.
type NodeInfo struct {
	Name     string
	Status   peer.Status // gossip's opinion
	State    peer.State  // the operator's wish
	Addr     string
	Reported time.Time // when its last load report arrived here
}

// Directory is an immutable snapshot of the cluster as this agent knows it.
type Directory struct {
	Engines []placement.Candidate // of all nodes, this one included; Own is filled in by the door
	Nodes   map[peer.ID]NodeInfo  // this one included
	// Documents are those that an engine's last report names, sorted; may be nil.
	Documents map[peer.EngineID][]string
	Revision  uint64
	Stale     bool          // read from state.cache, or without a quorum
	Age       time.Duration // of what is stale
}

// Key is one key of the ring that seals session cookies.
type Key struct {
	ID  uint64
	Key [32]byte
}

// Opening is a session about to open on an engine beside this agent.
type Opening struct {
	Session  SessionID
	Engine   peer.EngineID
	Document string // "" when the request names none
	Client   string // the user's address
	User     string // reserved, "" today
	// Known says that the session existed before: it moved here from a lost engine,
	// or this agent was restarted. It must not cost a second seat.
	Known bool
}

// Admit decides whether a session may open; an error refuses it with 402. It may
// block for as long as ctx allows. It can be called more than once for a session
// and must then give the same answer.
type Admit func(context.Context, Opening) error

// Filter narrows the engines that may take a new session, as the rules say. It must
// not change the slice that it is given.
type Filter func(FilterRequest, []placement.Candidate) []placement.Candidate

// FilterRequest is what a rule may look at.
type FilterRequest struct {
	Document string
	Client   string
	Path     string
}

// Config is what a Door is made of. Everything is required unless it says
// otherwise.
type Config struct {
	Self  peer.ID
	Users net.Listener // where users arrive; the door closes it
	// TLS is how users are spoken to on Users; nil is in cleartext. Only its certificates
	// have to be set: versions below 1.2 are not spoken, and the door chooses the protocols.
	TLS      *tls.Config
	Redirect net.Listener // with TLS: users who come here in cleartext are sent to Users; the door closes it; may be nil
	// ProxyProtocol says that users come through proxies in Settings.TrustedNetworks, which
	// pass their connections on and say whose they are. They have to, on Users and Redirect,
	// and nobody else is served.
	ProxyProtocol bool
	Peers         Peers
	Local         []Engine // may be empty: a door only

	Directory func() *Directory // cheap, called per request; nil while there is none
	Settings  func() *Settings  // cheap, called per request; a new pointer after each change
	Keys      func() []Key      // the first seals, all open; empty while there is no state

	Admit   Admit    // nil admits everybody
	Filter  Filter   // nil allows every engine
	Private []string // path prefixes never forwarded, beside /.well-known/usher/

	// Descriptors is how many the process may have open; users get less than half. 0 is
	// any number.
	Descriptors int

	Now        func() time.Time // the wall clock; nil is time.Now
	Rand       io.Reader        // nil is crypto/rand
	Log        zerolog.Logger
	AccessLog  zerolog.Logger
	Registerer prometheus.Registerer // nil: metrics are not registered
}

func (c *Config) check() error {
	switch {
	case !c.Self.Valid():
		return fmt.Errorf("door: own node id %q is malformed", c.Self)
	case c.Users == nil, c.Peers.Listener == nil, c.Peers.Remote == nil, c.Peers.Dial == nil:
		return errors.New("door: a listener or the way to other agents is missing")
	case c.Redirect != nil && c.TLS == nil:
		return errors.New("door: users can only be sent to TLS where there is TLS")
	case c.Directory == nil, c.Settings == nil, c.Keys == nil:
		return errors.New("door: the directory, the settings or the keys are missing")
	}
	names := map[string]bool{}
	for _, e := range c.Local {
		if !peer.ValidName(e.Name()) {
			return fmt.Errorf("door: engine name %q is malformed", e.Name())
		}
		if names[e.Name()] {
			return fmt.Errorf("door: two engines are named %q", e.Name())
		}
		names[e.Name()] = true
	}
	return nil
}
