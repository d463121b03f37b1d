package admin

import (
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// Node is a member of the cluster: its row, what gossip says of it, and the last
// load report.
type Node struct {
	Meta
	Row
	ID          peer.ID    `json:"id"`
	Name        string     `json:"name"`
	Class       peer.Class `json:"class"`
	ClusterAddr string     `json:"cluster_addr"`
	Door        string     `json:"door"`
	PublicName  string     `json:"public_name"`
	Version     string     `json:"version"`
	Boot        uint64     `json:"boot"` // counts its starts
	Joined      time.Time  `json:"joined,omitzero"`

	State       peer.State `json:"state"` // what the operator wants
	StateUntil  time.Time  `json:"state_until,omitzero"`
	StateReason string     `json:"state_reason,omitempty"`
	Weight      int        `json:"weight"`
	Priority    int        `json:"priority"`
	Tags        []string   `json:"tags"`

	Status  peer.Status `json:"status"` // what gossip says; a hint
	Since   time.Time   `json:"since,omitzero"`
	Central bool        `json:"central"`
	Voter   bool        `json:"voter"`
	Self    bool        `json:"self"` // it is the node that answers

	Load    NodeLoad `json:"load"`
	Engines []Engine `json:"engines"`
	// Count is there with ?count alone, and when the node itself has answered.
	Count *Count `json:"count,omitempty"`
}

// Count is what a node itself says of its sessions at this moment.
type Count struct {
	Sessions int `json:"sessions"`
	// Revision is the state's by which its door opens sessions or refuses them: one
	// that was drained at this revision or before it has no new ones.
	Revision uint64 `json:"revision"`
}

// NodeLoad is a node's last report about itself; by gossip, so a second or more old.
type NodeLoad struct {
	ReportAge     Duration `json:"report_age,omitzero"` // absent when there has been none
	CPUPermille   int      `json:"cpu_permille"`
	MemFreeBytes  uint64   `json:"mem_free_bytes"`
	MemTotalBytes uint64   `json:"mem_total_bytes"`
	Sessions      int      `json:"sessions"`
	InFlight      int      `json:"in_flight"`
}

// NodeUpdate is the body of PATCH /v1/nodes/{id}; what is absent stays.
type NodeUpdate struct {
	Weight     *int      `json:"weight,omitempty"`   // 1 to 1000, 100 is normal
	Priority   *int      `json:"priority,omitempty"` // 0 to 1000, lower is promoted first
	Tags       *[]string `json:"tags,omitempty"`
	PublicName *string   `json:"public_name,omitempty"`
}

// StateChange is the body of POST /v1/nodes/{id}/drain, activate and standby.
type StateChange struct {
	// Deadline is how long from now sessions may take to end; drain only, zero for
	// no end.
	Deadline Duration `json:"deadline,omitzero"`
	Reason   string   `json:"reason,omitempty"`
}

// Engine is an application server behind an agent. The fields from URL on are
// known to its own agent only: GET /v1/engines/{node}/{name} asks there.
type Engine struct {
	Meta
	ID           peer.EngineID `json:"id"` // NODE-ID/NAME
	Name         string        `json:"name"`
	Node         Ref           `json:"node"`
	NodeState    peer.State    `json:"node_state"`
	Health       peer.Health   `json:"health"` // "" when nothing was reported
	Sessions     int           `json:"sessions"`
	InFlight     int           `json:"in_flight"`
	LoadPermille *int          `json:"load_permille"` // the engine's own opinion; null: it has none
	Documents    []string      `json:"documents"`     // held in memory
	ReportAge    Duration      `json:"report_age,omitzero"`

	URL   string    `json:"url,omitempty"`
	Since time.Time `json:"since,omitzero"` // when Health last changed
	Error string    `json:"error,omitempty"`
}

// Session is one browser's stay on one engine, as the engine's agent counts it.
type Session struct {
	Meta
	ID         string        `json:"id"`
	Engine     peer.EngineID `json:"engine"`
	Node       Ref           `json:"node"`
	User       string        `json:"user"`
	Client     string        `json:"client"` // address
	Documents  []string      `json:"documents"`
	Created    time.Time     `json:"created"`
	LastSeen   time.Time     `json:"last_seen"`
	InFlight   int           `json:"in_flight"`
	WebSockets int           `json:"websockets"`
}

// Document is what users open, as far as the cluster knows of it: engines that
// hold it, tasks that reload it, and, when one document is asked for, its sessions.
type Document struct {
	Meta
	Key      string          `json:"key"`
	Engines  []peer.EngineID `json:"engines"`
	Tasks    []string        `json:"tasks"`
	Sessions []Session       `json:"sessions,omitempty"` // at most 1000
	Missing  []Ref           `json:"missing,omitempty"`  // nodes that did not answer
}
