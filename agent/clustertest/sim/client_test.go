package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/fsm"
)

// client uses the cluster through any node, one operation after the other.
type client struct {
	run *run
	i   int
	rng *rand.Rand
}

const (
	clients   = 5
	thinkTime = 300 * time.Millisecond // at most, between two operations
	readLimit = 5 * time.Second
	tries     = 3 // of a write whose outcome is not known
)

// work goes on until ctx ends. An operation that has begun is finished.
func (c *client) work(ctx context.Context) {
	for pause(ctx, time.Duration(c.rng.Int64N(int64(thinkTime)))) {
		l := c.any()
		// The dice are thrown whether the node lives or not: a plan is a plan.
		what, key := c.rng.IntN(100), keys()[c.rng.IntN(len(keys()))]
		switch {
		case l == nil:
		case what < 50:
			c.write(l, key)
		case what < 85:
			c.read(l)
		default:
			c.stale(l)
		}
	}
}

// any is a node's process, or nil when it has none.
func (c *client) any() *life { return c.run.nodes[c.rng.IntN(len(c.run.nodes))].live.Load() }

func (c *client) write(l *life, key string) {
	h := c.run.history
	o := op{client: c.i, node: l.n.name, kind: opWrite, key: key, start: h.tick(), outcome: never}
	p := c.proposal(l, key)
	o.id = p.ID
	for range tries {
		again := l
		if c.rng.IntN(20) == 0 {
			if again = c.any(); again == nil {
				again = l
			}
		}
		c.send(&o, p, l, again)
		if o.outcome != unknown || c.rng.IntN(4) == 0 {
			break
		}
		if next := c.any(); next != nil {
			l = next
		}
	}
	o.end = h.tick()
	h.add(o)
}

// proposal writes a value that nobody else writes, half of the times on the condition that
// the key is as this node shows it.
func (c *client) proposal(l *life, key string) fsm.Proposal {
	n := c.run.values.Add(1)
	value := strconv.FormatUint(n, 10)
	if !isSetting(key) {
		value = fmt.Sprintf("v%d of client %d", n, c.i)
	}
	v := l.fsm.View()
	var cond fsm.Match
	if c.rng.IntN(2) == 0 {
		if cond = fsm.Match(rowOf(v, key).modified); cond == 0 {
			cond = fsm.Absent
		}
	}
	actor := fsm.Actor{Kind: fsm.ActorNode, ID: string(l.n.id)}
	if c.rng.IntN(50) == 0 {
		actor = fsm.Actor{Kind: fsm.ActorToken, ID: "tttt"} // leaves a row in the journal
	}
	p := fsm.Proposal{Known: max(v.Revision(), 1), Actor: actor, Command: put(key, value, cond)}
	binary.BigEndian.PutUint64(p.ID[:], c.rng.Uint64())
	binary.BigEndian.PutUint64(p.ID[8:], n)
	return p
}

// send sends a command through one node, or through two at once, and adds what is known
// of it to what was known before.
func (c *client) send(o *op, p fsm.Proposal, l, other *life) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	try := func(l *life) {
		r, err := l.store.Apply(context.Background(), p)
		mu.Lock()
		defer mu.Unlock()
		o.learn(r, err, l.dead.Load())
	}
	if other != l {
		wg.Go(func() { try(other) })
	}
	try(l)
	wg.Wait()
}

// learn takes in one answer. Who asked a process that has died got none.
func (o *op) learn(r fsm.Result, err error, dead bool) {
	code, isRefusal := refusal(err)
	switch {
	case o.outcome == acked || o.outcome == refused:
	case dead:
		o.outcome = unknown
	case err == nil:
		o.outcome, o.revision = acked, r.Revision
	case isRefusal && code == fsm.CodeConflict:
		o.outcome, o.code = refused, code
	case !certainly(err):
		o.outcome = unknown
	}
}

// certainly reports whether an error says that a command was not carried out, and will
// not be.
func certainly(err error) bool {
	var not *consensus.NotSentError
	switch {
	case errors.Is(err, consensus.ErrUnknown):
		return false
	case errors.Is(err, consensus.ErrClosed):
		return errors.As(err, &not)
	}
	return errors.Is(err, consensus.ErrNoQuorum) || errors.As(err, &not) || errors.Is(err, context.DeadlineExceeded)
}

func (c *client) read(l *life) {
	h := c.run.history
	o := op{client: c.i, node: l.n.name, kind: opRead, start: h.tick(), outcome: never}
	ctx, cancel := context.WithTimeout(context.Background(), readLimit)
	defer cancel()
	v, err := l.store.Read(ctx)
	if err == nil && !l.dead.Load() {
		o.outcome, o.revision, o.rows = acked, v.Revision(), rowsOf(v)
	}
	o.end = h.tick()
	h.add(o)
}

func (c *client) stale(l *life) {
	h := c.run.history
	o := op{client: c.i, node: l.n.name, kind: opStale, start: h.tick(), outcome: never}
	if v := l.store.View(); v.Revision() > 0 {
		o.outcome, o.revision, o.rows = acked, v.Revision(), rowsOf(v)
	}
	o.end = h.tick()
	h.add(o)
}

// pause waits, or less if ctx ends. It reports whether ctx still lives.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
