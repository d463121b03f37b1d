package doctor

import (
	"io/fs"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Facts are what was found out about a node. A nil part was not looked at; an error in a
// part is why there is no more in it.
type Facts struct {
	Now time.Time
	// Offline says why the agent was not asked; "" when these are its own facts.
	Offline string

	Dir      *Dir
	Identity *Identity
	Ports    []Port
	Address  *Address
	Names    []Name

	Disk   *Disk
	Sync   *Sync
	Files  *Files
	Memory *Memory

	Raft     *Raft
	Peers    []Peer    // the other nodes
	Versions []Version // of all nodes
	Engines  []Engine
}

// Config is a configuration file.
type Config struct {
	Path string // "" when none was named and none is at the usual place
	Err  error  // what is wrong with it, or why it could not be read
}

// Dir is the data directory. Modes are looked at only where they mean something.
type Dir struct {
	Path  string
	Err   error
	Mode  fs.FileMode
	Loose []File // what others may read, the directory itself included
	// Foreign are files of another user than the directory's; Owner is that user.
	Foreign []string
	Owner   string
	// Unfinished says that usher recover was cut short right before its end.
	Unfinished bool
	// Holder is the process that the directory's lock names and that lives; 0 for none.
	Holder int
}

// File is a file with a mode that it should not have.
type File struct {
	Path string
	Mode fs.FileMode
}

// Identity is the node's certificate and the CA's.
type Identity struct {
	Err     error
	ID      peer.ID
	Cluster string // UUID
	Ends    time.Time
	CAEnds  time.Time // of the CA that ends first
}

// Port is a port of this node.
type Port struct {
	Name string // "cluster port" or "door"
	Addr string // where it was looked for
	Flag string // that chooses another one
	Err  error  // of a connection to it; nil: somebody listens
}

// Address is what this node advertises.
type Address struct {
	Addr string // host:port; "" with Err
	Err  error  // no address could be found
	Here bool   // it is on one of the machine's interfaces
}

// Name is a host name of the configuration.
type Name struct {
	Key  string // of the configuration
	Host string
	Err  error
}

// Disk is the file system of the data directory.
type Disk struct {
	Path        string
	Err         error
	Free, Total uint64 // bytes; free to whoever is not root
}

// Sync is how long small writes took to be on disk.
type Sync struct {
	Path          string
	Err           error
	Median, Worst time.Duration
	Writes        int
}

// Files are the file descriptors of the agent.
type Files struct {
	Err   error
	Limit uint64
	Open  int // -1: not known
}

// Memory is the machine's, and the agent's part of it.
type Memory struct {
	Err         error
	Free, Total uint64 // bytes; what programs can have without swapping
	Own         uint64 // resident; 0: not known
}

// Raft is what this node knows of consensus.
type Raft struct {
	State       string
	Central     string // name; "" for none
	Quorum      bool
	Voter       bool          // this node votes
	Voters      []string      // names
	Away        []string      // those of them that are not reached
	LastContact time.Duration // negative: never
}

// Peer is another node, as it is reached and as it reaches this one.
type Peer struct {
	Name  string
	Addrs []string // that were tried
	Err   error    // of a fresh connection to it

	Asked   bool  // it was asked whether it reaches this node
	AskErr  error // it gave no answer
	BackErr error // of its own fresh connection to this node

	Timed  bool          // its clock was looked at
	Offset time.Duration // its clock ahead of ours
	Within time.Duration // the offset may be wrong by so much
}

// Version is what a node runs.
type Version struct {
	Node    string
	Version string
	Feature uint32 // commands that it knows
}

// Engine is an application server beside this node.
type Engine struct {
	Name, URL string
	Health    peer.Health
	Since     time.Time
	Err       string // of the last probe
}

// Unit is the service of systemd. A nil *Unit: systemd is not in charge.
type Unit struct {
	Err      error
	Load     string // loaded, not-found, ...
	Active   string // active, failed, ...
	Result   string // of the last run: success, exit-code, ...
	File     string // enabled, disabled, ...
	Restarts int
	Limit    uint64 // LimitNOFILE; 0: not known
}
