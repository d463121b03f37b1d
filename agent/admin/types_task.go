package admin

import (
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// TaskSpec is what an operator says of a task: the body of PUT /v1/tasks/{name}.
// Give either Cron or Every. What is absent gets its default.
type TaskSpec struct {
	Document string    `json:"document"`
	Engine   string    `json:"engine,omitempty"` // name; "" for any
	Tag      string    `json:"tag,omitempty"`    // nodes that may run it; "" for any
	Cron     string    `json:"cron,omitempty"`
	Every    Duration  `json:"every,omitzero"`
	Zone     string    `json:"zone,omitempty"`     // IANA time zone of Cron; "" is UTC
	Start    time.Time `json:"start,omitzero"`     // no occurrence before; the origin of Every
	Attempts int       `json:"attempts,omitempty"` // default 3
	Timeout  Duration  `json:"timeout,omitzero"`   // of one attempt, default 1h
	CatchUp  Duration  `json:"catch_up,omitzero"`  // later than this is missed, default 1h
}

// Task is a scheduled job.
type Task struct {
	Meta
	Row
	Name string `json:"name"`
	TaskSpec
	Paused bool        `json:"paused"`
	Reason string      `json:"reason,omitempty"` // why it is paused
	By     string      `json:"by"`
	Next   []time.Time `json:"next"` // next due times; empty when paused
	Last   *Occurrence `json:"last"` // the latest occurrence; null: none yet
	Open   int         `json:"open"` // occurrences pending, claimed or started
}

// Pause is the body of POST /v1/tasks/{name}/pause.
type Pause struct {
	Reason string `json:"reason,omitempty"`
}

// Occurrence is one due time of a task.
type Occurrence struct {
	Meta
	Row
	ID      string    `json:"id"` // TASK@DUE
	Task    string    `json:"task"`
	Due     time.Time `json:"due"`
	Manual  bool      `json:"manual"`
	State   string    `json:"state"` // pending, claimed, started, succeeded, failed, lost, missed, skipped
	Attempt int       `json:"attempt"`
	Fence   uint64    `json:"fence"`
	Node    *Ref      `json:"node"` // null: none yet
	Engine  string    `json:"engine"`
	Asked   time.Time `json:"asked,omitzero"` // when the row was made
	Claimed time.Time `json:"claimed,omitzero"`
	Started time.Time `json:"started,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Retry   time.Time `json:"retry,omitzero"` // a pending one is not tried before
	Rows    int64     `json:"rows"`
	Took    Duration  `json:"took,omitzero"`
	Error   string    `json:"error,omitempty"`
	Output  string    `json:"output,omitempty"`
	History []Attempt `json:"history,omitempty"` // earlier attempts
}

// Attempt is one ended try of an occurrence.
type Attempt struct {
	Number  int       `json:"number"`
	Node    peer.ID   `json:"node"`
	Fence   uint64    `json:"fence"`
	Started time.Time `json:"started,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	State   string    `json:"state"`
	Error   string    `json:"error,omitempty"`
}
