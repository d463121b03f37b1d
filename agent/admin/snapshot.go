package admin

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/ushercluster/usher/fsm"
)

const snapshotType = "application/vnd.usher.snapshot"

// SnapshotIdle bounds the time in which nothing of a snapshot arrives.
const SnapshotIdle = 30 * time.Second

func snapshotRoute() route {
	return route{
		method: http.MethodGet, pattern: "/v1/snapshot", access: access{role: fsm.RoleAdmin}, status: http.StatusOK, handle: serveSnapshot,
		query:   []parameter{{"stale", "what this node has, without a majority's word that it is the newest"}},
		summary: "The whole state with its secrets, sealed to the recovery key",
	}
}

// serveSnapshot streams the state. Its length is not known before; the file tells by its
// check sum whether it is whole.
func serveSnapshot(c *call) {
	if _, err := c.read(); err != nil {
		c.fail(err)
		return
	}
	c.head(snapshotType)
	out := &patient{c: c}
	if err := c.s.cfg.Backend.Snapshot(out, !c.stale); err != nil {
		if !out.begun {
			c.fail(err)
			return
		}
		c.s.log.Warn().Err(err).Msg("a snapshot was not sent to its end")
		panic(http.ErrAbortHandler) // the only way to say so now
	}
}

// patient gives each write as much time as an answer has.
type patient struct {
	c     *call
	begun bool
}

// Write implements io.Writer.
func (p *patient) Write(b []byte) (int, error) {
	p.begun = true
	_ = http.NewResponseController(p.c.w).SetWriteDeadline(time.Now().Add(writeTimeout))
	return p.c.w.Write(b)
}

// Snapshot copies the whole state, sealed to the recovery key, to w. It is not known to be
// whole before its check sum has been verified. ctx alone bounds it, and SnapshotIdle.
func (c *Client) Snapshot(ctx context.Context, w io.Writer, opts ...Option) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(SnapshotIdle, func() { cancel(context.DeadlineExceeded) })
	defer idle.Stop()
	resp, err := c.send(ctx, http.MethodGet, "/v1/snapshot", nil, newQuery(opts))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.refusal(resp)
	}
	_, err = io.Copy(w, &watched{resp.Body, idle})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watched puts the end of patience off with all that arrives.
type watched struct {
	io.Reader
	idle *time.Timer
}

// Read implements io.Reader.
func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Reader.Read(b)
	if n > 0 {
		w.idle.Reset(SnapshotIdle)
	}
	return n, err
}
