package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Bounds of retrying.
const (
	applyTimeout   = 10 * time.Second // a command is tried this long at most
	leaderlessWait = 3 * time.Second  // and this long without any leader
	barrierTimeout = 5 * time.Second
	retryFirst     = 20 * time.Millisecond
	retryMax       = 250 * time.Millisecond
)

// NotSentError means that a command certainly did not reach a leader.
type NotSentError struct{ Err error }

func (e *NotSentError) Error() string { return "not sent: " + e.Err.Error() }
func (e *NotSentError) Unwrap() error { return e.Err }

// errMoving means that nothing may be added to the log while the central role moves.
var errMoving = errors.New("the central role is being moved")

// ErrNotLeader means that the node that was asked does not lead.
var ErrNotLeader = errors.New("not the leader")

// Apply carries a command out on the cluster's state and returns its result, from
// whichever node it is called. It tries for at most ten seconds, always with the
// same command ID, so that the command is applied once at most. Errors: *fsm.Error
// when the state refused it, ErrNoQuorum, ErrBusy, ErrDenied, ErrClosed, ErrUnknown (also
// joined with one of the others when an earlier try had been sent), or the context's.
// Without ErrUnknown, ErrNoQuorum, ErrBusy and ErrDenied say that nothing was done.
func (s *Store) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	if err := s.prepare(&p); err != nil {
		return fsm.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	return s.retry(ctx, p)
}

// prepare fills in what a first try needs.
func (s *Store) prepare(p *fsm.Proposal) error {
	v := s.View()
	if p.ID == (fsm.CommandID{}) {
		if _, err := rand.Read(p.ID[:]); err != nil {
			return fmt.Errorf("draw command id: %w", err)
		}
	}
	if p.Known == 0 {
		p.Known = v.Revision()
	}
	kind := fsm.KindOf(p.Command)
	if c := v.Cluster(); c != nil && kind.Level() > c.FeatureLevel {
		return &fsm.Error{Code: fsm.CodeFeature, Message: fmt.Sprintf(
			"%s needs feature level %d, the cluster is at %d: upgrade usher on every server first", kind, kind.Level(), c.FeatureLevel)}
	}
	return nil
}

func (s *Store) retry(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	wait, sent := retryFirst, false
	var last error
	leaderless := time.Now()
	for {
		changed := s.leads.changed()
		leader := s.leader()
		if leader != "" {
			r, err := s.once(ctx, leader, p)
			if err == nil {
				return r, r.Err()
			}
			leaderless = time.Now() // now: the try may have taken long
			if final(err) {
				return fsm.Result{}, undecided(err, sent)
			}
			var not *NotSentError
			sent = sent || !errors.As(err, &not)
			last = err
		}
		if time.Since(leaderless) >= leaderlessWait || !pauseFor(ctx, changed, wait) {
			return fsm.Result{}, s.gaveUp(ctx, sent, last)
		}
		wait = min(2*wait, retryMax)
	}
}

// final reports whether trying again cannot help.
func final(err error) bool {
	var refused *fsm.Error
	return errors.As(err, &refused) || errors.Is(err, ErrDenied) || errors.Is(err, ErrClosed) || errors.Is(err, ErrBusy)
}

// undecided adds to the end of trying what an earlier try leaves open, if one was sent: of
// that only the state's own refusal says something, because it knows the command by its ID.
func undecided(err error, sent bool) error {
	var refused *fsm.Error
	if !sent || errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("%w (last try: %w)", ErrUnknown, err)
}

// ErrDenied means that the leader did not accept the caller.
var ErrDenied = errors.New("denied by the leader")

func (s *Store) once(ctx context.Context, leader peer.ID, p fsm.Proposal) (fsm.Result, error) {
	if leader == s.cfg.Self {
		return s.Propose(ctx, p)
	}
	return s.cfg.Forward.Apply(ctx, leader, p)
}

// gaveUp says why a command was not acknowledged in time.
func (s *Store) gaveUp(ctx context.Context, sent bool, last error) error {
	var err error
	// Without a leader for long, and without a try, it is no quorum, even if one has been
	// found since the last look.
	if s.leader() == "" || !sent && ctx.Err() == nil {
		st := s.Status()
		err = &QuorumError{Reachable: s.reachable(st), Voters: len(st.Voters)}
	}
	if sent {
		err = errors.Join(err, ErrUnknown)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	if last != nil {
		err = fmt.Errorf("%w (last try: %w)", err, last)
	}
	return err
}

// proposeError says of a proposal that failed what is known of it.
func proposeError(err error) error {
	var left *leftError
	switch {
	case isNotLeader(err), errors.Is(err, raft.ErrEnqueueTimeout):
		return &NotSentError{err}
	case errors.As(err, &left):
		return fmt.Errorf("propose: %w: %w", ErrUnknown, err)
	}
	return fmt.Errorf("propose: %w", err)
}

func isNotLeader(err error) bool { return errors.Is(err, raft.ErrNotLeader) }

// enter begins a call that adds an entry to the log, and waits while a planned move
// holds such calls back. A move looks at the count after it has begun to hold, so the
// call is counted before holds is looked at.
func (s *Store) enter(ctx context.Context) error {
	for {
		released := s.released.changed()
		if !s.calls.begin() {
			return ErrClosed
		}
		var err error
		switch {
		case s.raft.State() != raft.Leader:
			err = ErrNotLeader
		case s.holds.Load() == 0:
			return nil
		}
		s.calls.end()
		if err != nil {
			return err
		}
		select {
		case <-released:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errMoving, ctx.Err())
		case <-s.stop:
			return ErrClosed
		}
	}
}

func untilDeadline(ctx context.Context) time.Duration {
	if d, ok := ctx.Deadline(); ok {
		return max(time.Until(d), time.Millisecond)
	}
	return applyTimeout
}

func (s *Store) leader() peer.ID {
	_, id := s.raft.LeaderWithID()
	return peer.ID(id)
}
