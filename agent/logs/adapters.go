package logs

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// HCLog returns a logger for raft and raft-wal that writes to l. Their messages
// and key-value pairs are kept; their levels are mapped one to one, with trace
// below debug dropped, and two exceptions. An error of the network is a warning: a
// peer that is away needs nobody to act here. And a warning, or such an error, that
// comes again about the same peer within a minute goes to debug; the next one that is
// shown says in the field "repeated" how many did. Errors of our own closing, and
// those named in quiet, go to debug.
func HCLog(l zerolog.Logger, quiet ...error) hclog.Logger {
	il := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Debug, Output: io.Discard})
	il.RegisterSink(&sink{log: l, quiet: append(quiet, net.ErrClosed)})
	return il
}

type sink struct {
	log   zerolog.Logger
	quiet []error
	damp  Damper
}

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level == hclog.Trace {
		return
	}
	to, repeated := s.level(level, msg, args)
	e := s.log.WithLevel(to)
	if repeated > 0 {
		e = e.Uint64("repeated", repeated)
	}
	for i := 0; i+1 < len(args); i += 2 {
		key, ok := args[i].(string)
		if !ok {
			continue
		}
		switch v := args[i+1].(type) {
		case hclog.Format:
			continue
		case error:
			e = e.AnErr(key, v)
		default:
			e = e.Interface(key, v)
		}
	}
	e.Msg(msg)
}

// level says how loud a line is, and how many like it were not shown.
func (s *sink) level(level hclog.Level, msg string, args []any) (zerolog.Level, uint64) {
	switch level {
	case hclog.Debug:
		return zerolog.DebugLevel, 0
	case hclog.Warn, hclog.Error:
	default:
		return zerolog.InfoLevel, 0
	}
	if holds(args, s.quiet) { // the library cannot tell that we closed it on purpose
		return zerolog.DebugLevel, 0
	}
	if level == hclog.Error && !network(args) {
		return zerolog.ErrorLevel, 0
	}
	show, before := s.damp.See(msg+" "+aboutPeer(args), time.Now())
	if !show {
		return zerolog.DebugLevel, 0
	}
	return zerolog.WarnLevel, before
}

// Std returns a *log.Logger for memberlist and net/http. A line that begins with
// "[WARN]", "[ERR]", "[DEBUG]" or "[INFO]" gets that level, any other gets def.
func Std(l zerolog.Logger, def zerolog.Level) *log.Logger {
	return log.New(lineWriter{l, def}, "", 0)
}

type lineWriter struct {
	log zerolog.Logger
	def zerolog.Level
}

var stdLevels = []struct {
	tag   string
	level zerolog.Level
}{
	{"[DEBUG]", zerolog.DebugLevel}, {"[INFO]", zerolog.InfoLevel},
	{"[WARN]", zerolog.WarnLevel}, {"[ERR]", zerolog.ErrorLevel}, {"[ERROR]", zerolog.ErrorLevel},
}

func (w lineWriter) Write(p []byte) (int, error) {
	line := string(bytes.TrimSpace(p))
	level := w.def
	for _, t := range stdLevels {
		if rest, ok := strings.CutPrefix(line, t.tag); ok {
			line, level = strings.TrimSpace(rest), t.level
			break
		}
	}
	w.log.WithLevel(level).Msg(line)
	return len(p), nil
}

// holds reports whether the arguments of a line hold one of some errors.
func holds(args []any, some []error) bool {
	for _, a := range args {
		err, ok := a.(error)
		if ok && slices.ContainsFunc(some, func(known error) bool { return errors.Is(err, known) }) {
			return true
		}
	}
	return false
}
