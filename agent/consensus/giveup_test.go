package consensus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// slowForwarder fails its first try after a while, with certainty.
type slowForwarder struct {
	forwarder
	takes time.Duration
	tries *int
}

func (f slowForwarder) Apply(ctx context.Context, to peer.ID, p fsm.Proposal) (fsm.Result, error) {
	if *f.tries++; *f.tries == 1 {
		pause(ctx, f.takes)
		return fsm.Result{}, &NotSentError{ErrNotLeader}
	}
	return f.forwarder.Apply(ctx, to, p)
}

// TestATryThatTakesLong: the time that a try takes is none without a leader.
func TestATryThatTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		m := c.others(c.leader(""))[0]
		tries := 0
		m.store.cfg.Forward = slowForwarder{forwarder{c, m.id}, leaderlessWait + time.Second, &tries}
		if _, err := m.store.Apply(t.Context(), put("a")); err != nil || tries != 2 {
			t.Errorf("after %d tries: %v", tries, err)
		}
	})
}

// TestGivingUpIsAnError: also when a leader is found between the last look and the end,
// and nothing was tried.
func TestGivingUpIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		for _, last := range []error{nil, &NotSentError{ErrNotLeader}} {
			if err := c.leader("").store.gaveUp(t.Context(), false, last); !errors.Is(err, ErrNoQuorum) {
				t.Errorf("gave up with %v after %v", err, last)
			}
		}
	})
}

// brokenForwarder loses the answer of its first try, which may have arrived, and ends each
// further one with err.
type brokenForwarder struct {
	forwarder
	err   error
	tries *int
}

func (f brokenForwarder) Apply(ctx context.Context, to peer.ID, p fsm.Proposal) (fsm.Result, error) {
	if *f.tries++; *f.tries > 1 {
		return fsm.Result{}, f.err
	}
	if _, err := f.forwarder.Apply(ctx, to, p); err != nil {
		return fsm.Result{}, err
	}
	return fsm.Result{}, errors.New("the connection broke")
}

// TestARefusalAfterALostAnswer: a leader that does not take the repeat says nothing of what
// became of the first try. Only the state does.
func TestARefusalAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		m := c.others(c.leader(""))[0]
		for _, end := range []error{ErrBusy, ErrDenied, ErrClosed} {
			tries := 0
			m.store.cfg.Forward = brokenForwarder{forwarder{c, m.id}, end, &tries}
			if _, err := m.store.Apply(t.Context(), put("a")); !errors.Is(err, ErrUnknown) || !errors.Is(err, end) || tries != 2 {
				t.Errorf("%v at the repeat, after %d tries: %v", end, tries, err)
			}
		}
		refused := &fsm.Error{Code: fsm.CodeConflict, Message: "no"}
		tries := 0
		m.store.cfg.Forward = brokenForwarder{forwarder{c, m.id}, refused, &tries}
		if _, err := m.store.Apply(t.Context(), put("a")); errors.Is(err, ErrUnknown) || !errors.Is(err, refused) {
			t.Errorf("refused by the state: %v", err)
		}
	})
}
