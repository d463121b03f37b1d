package admin

import (
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Meta says how fresh an answer is. It is part of every answer's top level and
// empty inside lists.
type Meta struct {
	// Revision is the state's revision that the answer shows: the header
	// X-Usher-Index. A client hands it back with WaitIndex.
	Revision uint64 `json:"-"`
	// Stale means that no majority confirmed the answer: it is what the node knew.
	Stale bool `json:"stale,omitempty"`
	// Age is how old a stale answer may be.
	Age Duration `json:"age,omitzero"`
}

// AtRevision is Revision, for Watch.
func (m Meta) AtRevision() uint64 { return m.Revision }

func (m *Meta) meta() *Meta { return m }

// List is a page of a collection.
type List[T any] struct {
	Meta
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"` // cursor of the next page; "" on the last one
	// Missing names nodes that were asked and did not answer in time: their
	// sessions are not in the list.
	Missing []Ref `json:"missing,omitempty"`
}

// Row is what every stored thing carries.
type Row struct {
	Etag     string `json:"etag,omitempty"`     // for If-Match; "" for what is not stored
	Created  uint64 `json:"created,omitempty"`  // revision
	Modified uint64 `json:"modified,omitempty"` // revision
}

// Ref names a node. Name is "" when the node is unknown (removed long ago).
type Ref struct {
	ID   peer.ID `json:"id"`
	Name string  `json:"name"`
}

// Status is the answer to "how is the cluster?".
type Status struct {
	Meta
	Cluster  ClusterRef `json:"cluster"`
	Node     Ref        `json:"node"`    // who answers
	Version  string     `json:"version"` // of the usher that answers
	Started  time.Time  `json:"started"`
	Quorum   bool       `json:"quorum"`
	Central  *Ref       `json:"central"` // null: none is known
	Index    uint64     `json:"index"`   // the state's revision
	Servers  Servers    `json:"servers"`
	Counts   Counts     `json:"counts"`
	Raft     Raft       `json:"raft"`
	Door     string     `json:"door"` // the answering node's front door, host:port
	API      string     `json:"api"`  // its admin API on TCP; "" is off
	Warnings []string   `json:"warnings"`
}

// ClusterRef names the cluster; both are empty on a node without state.
type ClusterRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Servers counts the voters, and those of them that the answering node sees alive.
type Servers struct {
	Voters    int `json:"voters"`
	Reachable int `json:"reachable"`
}

// Counts are totals over the cluster as gossip reports them.
type Counts struct {
	Nodes          int `json:"nodes"`
	NodesAlive     int `json:"nodes_alive"`
	Engines        int `json:"engines"`
	EnginesHealthy int `json:"engines_healthy"`
	Sessions       int `json:"sessions"`
	Tasks          int `json:"tasks"`
	TasksPaused    int `json:"tasks_paused"`
	Running        int `json:"running"` // occurrences claimed or started
}

// Raft is the answering node's view of consensus.
type Raft struct {
	State       string   `json:"state"` // leader, follower, candidate, ...
	Term        uint64   `json:"term"`
	LastIndex   uint64   `json:"last_index"`
	CommitIndex uint64   `json:"commit_index"`
	Applied     uint64   `json:"applied_index"`
	LastContact Duration `json:"last_contact"`
	Voters      []Ref    `json:"voters"`
	Nonvoters   []Ref    `json:"nonvoters"`
}

// Cluster is the cluster's own row.
type Cluster struct {
	Meta
	Row
	ID           string    `json:"id"` // UUID
	Name         string    `json:"name"`
	Born         time.Time `json:"born"`
	FeatureLevel uint32    `json:"feature_level"`
	Fingerprints []string  `json:"fingerprints"` // SHA-256 of the CA certificates, hex; the first one signs
}

// Rename is the body of POST /v1/cluster/rename.
type Rename struct {
	Name string `json:"name"`
}

// Central is the node that schedules now.
type Central struct {
	Meta
	Node   *Ref   `json:"node"` // null: none is known
	Term   uint64 `json:"term"`
	Quorum bool   `json:"quorum"`
}

// CentralMove is the body of POST /v1/central/move. To is a node's name or ID; ""
// lets the cluster choose.
type CentralMove struct {
	To string `json:"to,omitempty"`
}

// Whoami says how the caller is known.
type Whoami struct {
	Meta
	Kind    string    `json:"kind"` // token or local
	ID      string    `json:"id"`   // token ID, or user name on the socket
	Name    string    `json:"name"` // of the token
	Role    string    `json:"role"` // viewer, operator or admin
	Expires time.Time `json:"expires,omitzero"`
	Node    Ref       `json:"node"` // who answers
}

// Health is for load balancers and monitors: 200 with "ok", else 503.
type Health struct {
	Meta
	Status string `json:"status"` // ok, no_quorum or no_state
}

// Nothing is the answer of a request that leaves nothing to show: an empty object.
type Nothing struct {
	Meta
}
