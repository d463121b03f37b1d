package identity

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

func TestAskStanding(t *testing.T) {
	inLab(t, func(t *testing.T, l *lab) {
		c := newCluster(t, testCluster, "paris")
		raw, err := l.server.Listen(l.ctx, "tcp", ":"+defaultPort)
		if err != nil {
			t.Fatal(err)
		}
		gone := peer.ID("gggggggggggggggg")
		keeper := Doorkeeper{Admit: c.admit, Removed: func(id peer.ID) bool { return id == gone }}
		l.wg.Go(func() {
			ln := tls.NewListener(raw, port(c.node.Chain, c.node, string(transport.ProtoJoin)))
			if err := ServeJoins(l.ctx, ln, keeper, zerolog.Nop()); err != nil {
				t.Errorf("serve joins: %v", err)
			}
		})
		for id, want := range map[peer.ID]bool{gone: true, "aaaaaaaaaaaaaaaa": false} {
			conn := l.knock()
			if got, err := AskStanding(l.ctx, conn, id); err != nil || got != want {
				t.Errorf("node %s removed: %v, %v; want %v", id, got, err, want)
			}
			conn.Close()
		}
		conn := l.knock()
		defer conn.Close()
		if _, err := AskStanding(l.ctx, conn, "no ID at all"); err == nil {
			t.Error("a malformed question was answered")
		}
	})
}

// What answers may be anything.
func TestAskStandingBelievesOnlyAnAnswer(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":             "",
		"garbage":             "\x00\x00\x00\x05hello",
		"refusal":             "\x00\x00\x00\x2e" + `{"error":{"code":"upgrade"},"removed":true   }`,
		"too long":            "\xff\xff\xff\xff",
		"a list":              "\x00\x00\x00\x02[]",
		"removed is a string": "\x00\x00\x00\x11" + `{"removed":"yes"}`,
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				var o opening
				_ = readFrame(theirs, &o)
				_, _ = theirs.Write([]byte(answer))
				theirs.Close()
			}()
			if removed, err := AskStanding(t.Context(), ours, "aaaaaaaaaaaaaaaa"); err == nil || removed {
				t.Errorf("removed %v, %v", removed, err)
			}
		})
	}
}
