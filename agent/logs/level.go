package logs

import (
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// Level is a threshold that can be changed while loggers use it. It is safe for
// concurrent use. The zero value lets everything from debug up pass.
type Level struct{ v atomic.Int32 }

// ParseLevel reads one of debug, info, warn, error.
func ParseLevel(s string) (zerolog.Level, error) {
	switch s {
	case "debug", "info", "warn", "error":
		return zerolog.ParseLevel(s)
	}
	return zerolog.NoLevel, fmt.Errorf("log level %q: use debug, info, warn or error", s)
}

// NewLevel returns a threshold at l.
func NewLevel(l zerolog.Level) *Level {
	v := new(Level)
	v.Set(l)
	return v
}

// Set moves the threshold.
func (l *Level) Set(to zerolog.Level) { l.v.Store(int32(to)) }

// Get returns the threshold.
func (l *Level) Get() zerolog.Level { return zerolog.Level(l.v.Load()) }

// Run implements zerolog.Hook: it discards what lies below the threshold.
func (l *Level) Run(e *zerolog.Event, level zerolog.Level, _ string) {
	if level < l.Get() {
		e.Discard()
	}
}
