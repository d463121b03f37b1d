// Package logs sets up the agent's structured logging: one zerolog root, a child
// per component, constant field names, and adapters for the libraries that bring
// a logging interface of their own (hclog for raft, *log.Logger for memberlist
// and net/http).
//
// Levels mean: error, a person must act; warn, degraded and heals itself; info,
// what an operator wants to see; debug, per request.
package logs

import (
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Field names. A message is a constant lower-case phrase, facts are fields.
const (
	Component = "component"
	Node      = "node"
	NodeName  = "node_name"
	Peer      = "peer"
	Addr      = "addr"
	Proto     = "proto"
	Engine    = "engine"
	Session   = "session"
	Document  = "document"
	User      = "user"
	Task      = "task"
	Due       = "due"
	Attempt   = "attempt"
	Revision  = "revision"
	Term      = "term"
	Setting   = "setting"
	Duration  = "duration_ms"
	Path      = "path"
	Method    = "method"
	Status    = "status"
)

// Format is how lines are written.
type Format string

// The formats: one JSON object a line, or columns for a terminal.
const (
	JSON    Format = "json"
	Console Format = "console"
)

// New returns a root logger that writes to w. now stamps the lines, so that
// clusters in fake time log fake time; nil means time.Now. The level lives in
// the returned Level and may be changed while running. Each of also gets the same lines,
// as JSON whatever the format is.
func New(w io.Writer, format Format, level *Level, now func() time.Time, also ...io.Writer) (zerolog.Logger, error) {
	switch format {
	case JSON, "":
	case Console:
		w = zerolog.ConsoleWriter{Out: w, NoColor: true, TimeFormat: "15:04:05.000"}
	default:
		return zerolog.Nop(), fmt.Errorf("log format %q: use %q or %q", format, JSON, Console)
	}
	if now == nil {
		now = time.Now
	}
	if len(also) > 0 {
		w = zerolog.MultiLevelWriter(append([]io.Writer{w}, also...)...)
	}
	return zerolog.New(w).Hook(level, stamp{now}), nil
}

// For returns the child logger of one component.
func For(l zerolog.Logger, component string) zerolog.Logger {
	return l.With().Str(Component, component).Logger()
}

type stamp struct{ now func() time.Time }

func (s stamp) Run(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, s.now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
