package config

import (
	"time"
)

// Config is everything that one agent is told. It is a plain value: copy it, do
// not change its slices.
type Config struct {
	DataDir string // holds identity, Raft log and caches; made with mode 0700
	// SnapshotDir is where this node saves the state from time to time; "" is snapshots
	// in the data directory.
	SnapshotDir string

	Node    Node
	Cluster Cluster
	Door    Door
	API     API

	// Engines are what the node fronts: "URL", "NAME=URL", "builtin",
	// "NAME=builtin"; or nothing, or the one word "none". HasEngines tells.
	Engines []string
	Engine  Engine

	Log  Log
	Stop Stop
}

// Node is who this node is.
type Node struct {
	Name string // see peer.ValidName; used when the node joins, changed with the cluster's consent later
}

// Cluster is the port between nodes, and the way in.
type Cluster struct {
	Bind          string   // host:port of the cluster port
	Advertise     string   // what Advertise takes: address, interface or CIDR, with an optional port
	Join          []string // host[:port] of members
	JoinTokenFile string   // "-" is standard input

	// ElectionTimeout is Raft's heartbeat, election and lease timeout in one.
	ElectionTimeout time.Duration
}

// Door is where users arrive.
type Door struct {
	Listen     string // host:port
	PublicName string // the name by which users reach this door; "" when there is none

	TLSCerts []string // PEM files, the leaf first; none: in cleartext
	TLSKeys  []string // PEM files, in the same order
	Redirect string   // host:port where users who come in cleartext are sent to TLS; "" for none

	ProxyProtocol bool // users come through trusted proxies that say so, and in no other way
}

// API is where operators arrive.
type API struct {
	Listen  string   // host:port; "" opens no TCP listener
	Socket  string   // path of the Unix socket; "" opens none
	TLSCert string   // PEM file, the leaf first; needed beyond loopback
	TLSKey  string   // PEM file
	Names   []string // Host names accepted besides loopback and this node's addresses
}

// Engine holds what all engines of this node share.
type Engine struct {
	Health     string // "/path?query" of an HTTP probe, or "tcp"
	CA         string // PEM file of authorities that sign the engines' certificates, beside the machine's own
	SecretFile string // secret for the engine API; "" sends none
	Documents  string // directory of the built-in engine's *.csv files
}

// Log is where lines go: to standard error, always.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // json, console
}

// Stop bounds the way out.
type Stop struct {
	Timeout time.Duration // for the sessions' requests to end before the agent leaves
}

// NoEngine is the word for a node that stores and forwards only.
const NoEngine = "none"

// HasEngines reports whether the node fronts any engine.
func (c Config) HasEngines() bool {
	return len(c.Engines) > 0 && !(len(c.Engines) == 1 && c.Engines[0] == NoEngine)
}

// HasBuiltin reports whether one of the engines is the built-in one.
func (c Config) HasBuiltin() bool {
	for _, e := range c.Engines {
		if isBuiltin(e) {
			return true
		}
	}
	return false
}

// Ports by default.
const (
	DefaultClusterPort = "14747"
	DefaultDoorPort    = "8080"
	DefaultAPIPort     = "14748"
)
