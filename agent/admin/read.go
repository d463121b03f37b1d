package admin

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/fsm"
)

const (
	defaultWait = 30 * time.Second
	maxWait     = 60 * time.Second
)

// read returns the state that the answer shows: newer than ?index, if that is
// asked for; linearizable, unless ?stale; and what this node knows, labelled, when
// the route may fall back and no majority answers in time.
func (c *call) read() (fsm.View, error) {
	if err := c.await(); err != nil {
		return fsm.View{}, err
	}
	stale, err := c.flag("stale")
	if err != nil {
		return fsm.View{}, err
	}
	if stale {
		return c.known()
	}
	ctx, cancel := c.readTime()
	defer cancel()
	v, err := c.s.cfg.Backend.Read(ctx)
	if err != nil {
		if c.route.fallback && c.ctx.Err() == nil && !errors.Is(err, consensus.ErrClosed) {
			return c.known()
		}
		return fsm.View{}, err
	}
	return c.shownTo(v)
}

// readTime bounds a linearizable read that can be answered otherwise. Any other gives up
// by itself, long before callTimeout.
func (c *call) readTime() (context.Context, context.CancelFunc) {
	if c.route.fallback {
		return context.WithTimeout(c.ctx, fallbackAfter)
	}
	return c.ctx, func() {}
}

// known is the state as this node has it, labelled as that.
func (c *call) known() (fsm.View, error) {
	v := c.s.cfg.Backend.View()
	c.stale, c.age = true, c.ageOf(v)
	return c.shownTo(v)
}

// ageOf is how old a view may be: the time since this node knew that it was up to
// date or, if it never did, since the view's last command.
func (c *call) ageOf(v fsm.View) time.Duration {
	if contact := c.s.cfg.Backend.Raft().LastContact; contact >= 0 && !v.Cached() {
		return contact
	}
	if v.At().IsZero() {
		return 0
	}
	return max(0, c.now().Sub(v.At()))
}

// shownTo checks the caller's token once more, in the state that it is about to be
// shown: this node may have learned of a revocation only now.
func (c *call) shownTo(v fsm.View) (fsm.View, error) {
	if v.Revision() != c.asOf || v.Cached() {
		if err := c.who.stillIn(v, c.now()); err != nil {
			return fsm.View{}, err
		}
	}
	c.show(v)
	return v, nil
}

// await blocks until what the route shows is newer than ?index, or ?wait is over.
func (c *call) await() error {
	if c.woke == nil {
		after, wait, err := c.index()
		if err != nil || wait == 0 {
			return err
		}
		woke := c.sleep(c.route.tables, after, wait)
		c.woke, c.asOf = &woke, 0 // a token may have expired meanwhile
	}
	if *c.woke == wokeByStop {
		return closing()
	}
	return c.ctx.Err()
}

// index is what ?index and ?wait ask for; no wait when there is none.
func (c *call) index() (after uint64, wait time.Duration, err error) {
	q := c.query()
	if !q.Has("index") {
		if q.Has("wait") {
			return 0, 0, invalidParameter("wait", q.Get("wait"), "it needs index, the revision that you have")
		}
		return 0, 0, nil
	}
	after, err = strconv.ParseUint(q.Get("index"), 10, 64)
	if err != nil {
		return 0, 0, invalidParameter("index", q.Get("index"), "use a revision, as in "+headerIndex)
	}
	wait = defaultWait
	if q.Has("wait") {
		if wait, err = time.ParseDuration(q.Get("wait")); err != nil || wait < 0 {
			return 0, 0, invalidParameter("wait", q.Get("wait"), "use a duration up to 60s")
		}
	}
	return after, min(wait, maxWait), nil
}

// waits reports whether the request is going to wait, and for how long at first.
func (c *call) waits() (after uint64, wait time.Duration, yes bool) {
	if c.route.streams {
		return 0, 0, true
	}
	if c.route.method != http.MethodGet || c.route.out == nil || c.from == originPeer {
		return 0, 0, false
	}
	after, wait, err := c.index()
	return after, wait, err == nil && wait > 0 && c.s.cfg.Backend.View().Touched(c.route.tables) <= after
}

// sleep returns when one of the tables has changed after that revision, or d is over.
// No tables: only time ends it, or the caller, or the server.
func (c *call) sleep(tables fsm.Tables, after uint64, d time.Duration) wakeup {
	if c.spot != nil {
		return c.spot.wait(tables, after, d)
	}
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		v := c.s.cfg.Backend.View()
		if v.Touched(tables) > after {
			return wokeByNews
		}
		news := v.Newer()
		if tables == 0 {
			news = nil
		}
		select {
		case <-news:
		case <-end.C:
			return wokeByTime
		case <-c.stopping():
			return wokeByStop
		case <-c.ctx.Done():
			return wokeByCaller
		}
	}
}

// reached waits until this node's state has the revision. It fails when ctx ends
// or the server stops.
func (c *call) reached(ctx context.Context, rev uint64) (fsm.View, error) {
	for {
		v := c.s.cfg.Backend.View()
		if v.Revision() >= rev {
			return v, nil
		}
		select {
		case <-v.Newer():
		case <-c.stopping():
			return fsm.View{}, closing()
		case <-ctx.Done():
			return fsm.View{}, ctx.Err()
		}
	}
}

func closing() *Problem {
	p := problem(http.StatusServiceUnavailable, CodeClosing, "the agent is stopping", "ask another node, or ask again later")
	p.RetryAfter = 1
	return p
}
