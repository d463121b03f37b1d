package admin

import "time"

// Setting is a setting with its value in force and what it accepts.
type Setting struct {
	Meta
	Row
	Key     string    `json:"key"`
	Value   string    `json:"value"`  // in force, canonical
	Source  string    `json:"source"` // default or cluster
	Default string    `json:"default"`
	Type    string    `json:"type"`
	Accepts string    `json:"accepts"`          // in words
	Values  []string  `json:"values,omitempty"` // of an enum
	Help    string    `json:"help"`
	By      string    `json:"by,omitempty"` // who set it
	At      time.Time `json:"at,omitzero"`
}

// Sources of a setting's value.
const (
	SourceDefault = "default"
	SourceCluster = "cluster"
)

// SettingValue is the body of PUT /v1/settings/{key}.
type SettingValue struct {
	Value string `json:"value"`
}

// Settings is what export answers and import takes: values by key. With Reset,
// settings that are not named get their defaults back. All are set or none.
type Settings struct {
	Meta
	Settings map[string]string `json:"settings"`
	Reset    bool              `json:"reset,omitempty"`
}

// Audit is one thing that a person or a program asked for.
type Audit struct {
	Revision uint64    `json:"revision"`
	At       time.Time `json:"at"`
	Actor    string    `json:"actor"`  // token:ID or local:USER
	Via      Ref       `json:"via"`    // the node it was asked of
	Action   string    `json:"action"` // such as setting.set
	Target   string    `json:"target"`
	Detail   string    `json:"detail"`
	Code     string    `json:"code,omitempty"` // why it was refused; "" when it was carried out
}

// Event is one change of the state: these tables are not what they were at an
// earlier revision. Several changes may be told as one.
type Event struct {
	Revision uint64   `json:"revision"`
	Tables   []string `json:"tables"` // see EventTables
	// Since is the revision before; zero when it is not known, and then Tables
	// names every table: look at everything again.
	Since uint64 `json:"since,omitempty"`
}
