package logs

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// HCLog returns a logger for raft and raft-wal that writes to l. Their messages
// and key-value pairs are kept; their levels are mapped one to one, with trace
// below debug dropped.
func HCLog(l zerolog.Logger) hclog.Logger {
	il := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Debug, Output: io.Discard})
	il.RegisterSink(&sink{l})
	return il
}

type sink struct{ log zerolog.Logger }

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	var e *zerolog.Event
	switch level {
	case hclog.Trace:
		return
	case hclog.Debug:
		e = s.log.Debug()
	case hclog.Warn:
		e = s.log.Warn()
	case hclog.Error:
		e = s.log.Error()
		if closing(args) { // the library cannot tell that we closed it on purpose
			e = s.log.Debug()
		}
	default:
		e = s.log.Info()
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

// closing reports whether the arguments of a line hold the error of a listener or
// connection that was closed on this side.
func closing(args []any) bool {
	for _, a := range args {
		if err, ok := a.(error); ok && errors.Is(err, net.ErrClosed) {
			return true
		}
	}
	return false
}
