package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// levels are "level message" of every line, with "+n" for those it stands for.
func levels(t *testing.T, b *bytes.Buffer) []string {
	t.Helper()
	var out []string
	for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n") {
		var l struct {
			Level, Message string
			Repeated       uint64
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		s := l.Level + " " + l.Message
		if l.Repeated > 0 {
			s += fmt.Sprintf(" +%d", l.Repeated)
		}
		out = append(out, s)
	}
	b.Reset()
	return out
}

func TestLevelsOfTheLibrary(t *testing.T) {
	errQuiet := errors.New("shut down")
	refused := &net.OpError{Op: "dial", Net: "raft", Err: errors.New("no address is known")}
	for _, c := range []struct {
		name string
		log  func(l hclog.Logger)
		want []string
	}{
		{"info", func(l hclog.Logger) { l.Info("a"); l.Info("a") }, []string{"info a", "info a"}},
		{"fault", func(l hclog.Logger) { l.Error("a", "error", io.ErrShortWrite); l.Error("a", "error", io.ErrShortWrite) },
			[]string{"error a", "error a"}},
		{"peer away", func(l hclog.Logger) {
			for range 3 {
				l.Error("failed to make requestVote RPC", "target", "x", "error", refused, "term", 3)
			}
			l.Error("failed to make requestVote RPC", "target", "y", "error", fmt.Errorf("read: %w", io.EOF))
		}, []string{"warn failed to make requestVote RPC", "debug failed to make requestVote RPC",
			"debug failed to make requestVote RPC", "warn failed to make requestVote RPC"}},
		{"peer away, as the decoder says it", func(l hclog.Logger) { l.Error("a", "error", decodeError{refused}) }, []string{"warn a"}},
		{"what the peer sent is nonsense", func(l hclog.Logger) { l.Error("a", "error", decodeError{io.ErrShortBuffer}) }, []string{"error a"}},
		{"warning", func(l hclog.Logger) { l.Warn("a"); l.Warn("b"); l.Warn("a") }, []string{"warn a", "warn b", "debug a"}},
		{"closed here", func(l hclog.Logger) { l.Error("a", "error", net.ErrClosed); l.Error("b", "error", errQuiet) },
			[]string{"debug a", "debug b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			c.log(HCLog(zerolog.New(&b), errQuiet))
			if diff := cmp.Diff(c.want, levels(t, &b)); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestDampingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		l := HCLog(zerolog.New(&b).Level(zerolog.WarnLevel))
		for range 130 {
			l.Error("failed to heartbeat to", "peer", "x", "error", io.EOF)
			time.Sleep(time.Second)
		}
		want := []string{"warn failed to heartbeat to", "warn failed to heartbeat to +59", "warn failed to heartbeat to +59"}
		if diff := cmp.Diff(want, levels(t, &b)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestDamperIsBounded(t *testing.T) {
	var d Damper
	for i := range 10 * dampKinds {
		d.See(fmt.Sprint(i), time.Now())
		if len(d.kinds) > dampKinds {
			t.Fatal(len(d.kinds))
		}
	}
}

// decodeError is as that of raft's msgpack: it has a cause and does not unwrap.
type decodeError struct{ cause error }

func (e decodeError) Error() string { return "decode: " + e.cause.Error() }
func (e decodeError) Cause() error  { return e.cause }
