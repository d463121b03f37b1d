package admin

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Doctor is what a node finds of itself, and of the way to the others and back.
type Doctor struct {
	Meta
	Node   Ref           `json:"node"` // who answers
	At     time.Time     `json:"at"`
	Checks []doctor.Line `json:"checks"`
}

func doctorRoutes() []route {
	return []route{
		actionRoute(http.MethodPost, "/v1/doctor", fsm.RoleOperator, "Look for what is wrong with this node, its machine and the way to the others", examine, withOptionalBody),
	}
}

// examine looks at everything anew. It changes nothing, but it takes some seconds where
// others do not answer, writes a few blocks to the disk, and makes the others connect to
// this node.
func examine(c *call, _ Nothing) (Doctor, error) {
	look := c.s.cfg.Debug.Diagnose
	if look == nil {
		return Doctor{}, notFound("this agent cannot examine itself")
	}
	v := c.s.cfg.Backend.View()
	c.show(v)
	lines, err := look(c.bounded())
	if err != nil {
		return Doctor{}, err
	}
	return Doctor{Node: refOf(v, c.self()), At: c.now().UTC(), Checks: list(lines)}, nil
}

// Doctor asks a node to examine itself. Give ctx ten seconds and a little more.
func (c *Client) Doctor(ctx context.Context, opts ...Option) (Doctor, error) {
	return exchange[Doctor](ctx, c, http.MethodPost, "/v1/doctor", nil, opts)
}

// clockAnswer is a node's wall clock.
type clockAnswer struct {
	Meta
	Now time.Time `json:"now"`
}

// reachAnswer says how a fresh connection to the caller went.
type reachAnswer struct {
	Meta
	Error string `json:"error,omitempty"` // "" when it stood
}

func internalClock(c *call, _ Nothing) (clockAnswer, error) { return clockAnswer{Now: c.now()}, nil }

func internalReach(c *call, _ Nothing) (reachAnswer, error) {
	reach := c.s.cfg.Debug.Reach
	if reach == nil {
		return reachAnswer{}, notFound("this agent cannot try")
	}
	if err := reach(c.bounded(), c.who.peer); err != nil {
		return reachAnswer{Error: err.Error()}, nil
	}
	return reachAnswer{}, nil
}

// clockTries is how often a clock is asked for; the quickest answer says most.
const clockTries = 3

// Clock is how far a node's wall clock is ahead of ours, by the midpoint of a question
// (as in NTP, RFC 5905), and by how much that may be wrong.
func (f *Forwarder) Clock(ctx context.Context, node peer.ID, now func() time.Time) (ahead, within time.Duration, err error) {
	found := false
	for range clockTries {
		var out clockAnswer
		before := now()
		err = f.ask(ctx, node, http.MethodGet, "/v1/internal/clock", nil, &out)
		after := now()
		if err != nil {
			break
		}
		half := after.Sub(before) / 2
		if !found || half < within {
			found, within, ahead = true, half, out.Now.Sub(before.Round(0).Add(half))
		}
	}
	if found {
		return ahead, within, nil
	}
	return 0, 0, err
}

// Reach asks a node to make a fresh connection to this one. back is how that went; err
// is why there is no answer.
func (f *Forwarder) Reach(ctx context.Context, node peer.ID) (back, err error) {
	var out reachAnswer
	if err := f.ask(ctx, node, http.MethodPost, "/v1/internal/reach", nil, &out); err != nil {
		return nil, err
	}
	if out.Error != "" {
		return errors.New(out.Error), nil
	}
	return nil, nil
}
