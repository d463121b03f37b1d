package admin

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/fsm"
)

// condition is what If-Match or If-None-Match asked for.
type condition struct {
	given bool
	match fsm.Match
}

// checkCondition reads the precondition. One that the route cannot check is
// refused: to ignore it would lose somebody's update (RFC 9110, 13.1).
func (c *call) checkCondition() error {
	match, none := c.r.Header.Values("If-Match"), c.r.Header.Values("If-None-Match")
	if len(match)+len(none) == 0 || c.r.Method == http.MethodGet || c.r.Method == http.MethodHead {
		return nil
	}
	switch {
	case !c.route.conditional:
		return malformed("this request takes neither If-Match nor If-None-Match", "leave it out")
	case len(match)+len(none) > 1:
		return malformed("give one of If-Match and If-None-Match, once", "")
	case len(none) == 1 && none[0] == "*":
		c.cond = condition{true, fsm.Absent}
		return nil
	case len(none) == 1:
		return malformed("If-None-Match takes only * here", "")
	}
	text, ok := strings.CutPrefix(match[0], `"`)
	text, closed := strings.CutSuffix(text, `"`)
	rev, err := strconv.ParseUint(text, 10, 64)
	if !ok || !closed || err != nil || rev == 0 || fsm.Match(rev) == fsm.Absent {
		return malformed(fmt.Sprintf("If-Match: %s is no etag of a row", clip(match[0], 64)), `use the row's etag in quotes, as in If-Match: "812"`)
	}
	c.cond = condition{true, fsm.Match(rev)}
	return nil
}

// proposal makes a command ready to be applied for the caller.
func (c *call) proposal(cmd fsm.Command) (fsm.Proposal, error) {
	p := fsm.Proposal{Known: c.s.cfg.Backend.View().Revision(), Actor: c.who.actor(c.self()), Command: cmd}
	key := c.r.Header.Get(headerIdempotency)
	if key == "" && len(c.r.Header.Values(headerIdempotency)) == 0 {
		return p, nil
	}
	if !printable(key) || len(key) > 128 {
		return p, malformed(headerIdempotency+" is malformed", "use 1 to 128 printable ASCII characters")
	}
	sum := sha256.Sum256([]byte(p.Actor.String() + "\x00" + key))
	copy(p.ID[:], sum[:])
	return p, nil
}

func printable(s string) bool {
	for _, b := range []byte(s) {
		if b < 0x21 || b > 0x7e {
			return false
		}
	}
	return s != ""
}

// propose carries a command out for the caller, and returns when this node's state
// shows it.
func (c *call) propose(cmd fsm.Command) (fsm.Result, error) {
	p, err := c.proposal(cmd)
	if err != nil {
		return fsm.Result{}, err
	}
	return c.applied(c.s.cfg.Backend.Apply(c.asCaller(), p))
}

// asCaller is the request's context with its token, for the leader.
func (c *call) asCaller() context.Context { return WithCredential(c.bounded(), c.who.secret) }

func (c *call) applied(r fsm.Result, err error) (fsm.Result, error) {
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		return r, err
	}
	v := c.s.cfg.Backend.View()
	if v.Revision() < r.Revision {
		ctx, cancel := context.WithTimeout(c.bounded(), catchUp)
		defer cancel()
		v, err = c.reached(ctx, r.Revision)
	}
	if err != nil {
		p := problem(http.StatusServiceUnavailable, CodeBehind,
			fmt.Sprintf("it was carried out at revision %d, which this node has not reached yet", r.Revision), "read it again later; do not repeat it")
		p.RetryAfter, p.MaybeDone = 1, true
		return r, p
	}
	c.show(v)
	return r, nil
}
