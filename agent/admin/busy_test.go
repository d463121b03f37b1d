package admin

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// TestBusyIsSaid holds that whoever asks learns that the leader has too much to do and
// nothing was done, at whichever node.
func TestBusyIsSaid(t *testing.T) {
	r := newRig(t)
	full := &consensus.NotSentError{Err: consensus.ErrBusy}
	r.node[n1].b.onApply = func(fsm.Proposal) error { return full }
	for _, id := range []peer.ID{n1, n2} {
		got := r.do(context.Background(), id, originTCP, request{method: "PUT", path: "/v1/settings/log.level", body: `{"value": "warn"}`, token: r.tok.admin})
		if p := got.problem(t); got.status != 503 || p.Code != CodeBusy || got.header.Get("Retry-After") != "1" || p.Next == "" {
			t.Errorf("at %s: %d, Retry-After %q: %s", id, got.status, got.header.Get("Retry-After"), got.body)
		}
	}
	_, err := r.node[n2].f.Apply(context.Background(), n1, localRun(1))
	var not *consensus.NotSentError
	if !errors.Is(err, consensus.ErrBusy) || !errors.As(err, &not) {
		t.Errorf("a follower's own command: %v", err)
	}
}

// TestMaybeDone holds that an answer says so when the write may have been carried out, and
// does not when it certainly was not.
func TestMaybeDone(t *testing.T) {
	r := newRig(t)
	alone := &consensus.QuorumError{Reachable: 1, Voters: 3}
	for _, tc := range []struct {
		err       error
		status    int
		code      Code
		maybeDone bool
	}{
		{alone, 503, CodeNoQuorum, false},
		{fmt.Errorf("%w: %w", alone, consensus.ErrUnknown), 503, CodeNoQuorum, true},
		{consensus.ErrUnknown, 504, CodeUnknownOutcome, true},
		{consensus.ErrBusy, 503, CodeBusy, false},
		{fmt.Errorf("%w: %w", consensus.ErrUnknown, consensus.ErrBusy), 504, CodeUnknownOutcome, true},
		{consensus.ErrDenied, 403, CodeDenied, false},
		{fmt.Errorf("%w: %w", consensus.ErrUnknown, consensus.ErrDenied), 504, CodeUnknownOutcome, true},
		{consensus.ErrClosed, 503, CodeClosing, false},
		{fmt.Errorf("%w: %w", consensus.ErrUnknown, consensus.ErrClosed), 504, CodeUnknownOutcome, true},
	} {
		r.node[n1].b.onApply = func(fsm.Proposal) error { return tc.err }
		got := r.admin(request{method: "PUT", path: "/v1/settings/log.level", body: `{"value": "warn"}`})
		if p := got.problem(t); got.status != tc.status || p.Code != tc.code || p.MaybeDone != tc.maybeDone {
			t.Errorf("%v: %d %s", tc.err, got.status, got.body)
		}
	}
}

// TestStaleReadsAskNobody holds that ?stale is answered from this node's own state: the
// leader is not asked, and no round of a majority is.
func TestStaleReadsAskNobody(t *testing.T) {
	r := newRig(t)
	for _, rt := range routes() {
		if rt.method != "GET" || rt.out == nil || rt.open || rt.pattern == "/v1/whoami" {
			continue
		}
		q := r.sample(rt)
		sep := "?"
		for _, c := range q.path {
			if c == '?' {
				sep = "&"
			}
		}
		q.path, q.token = q.path+sep+"stale", r.tok.admin
		before := r.node[n2].b.reads.Load()
		if got := r.do(context.Background(), n2, originTCP, q); got.header.Get(headerStale) != "true" {
			t.Errorf("%s: %d %s", q.path, got.status, got.body)
		}
		if n := r.node[n2].b.reads.Load() - before; n != 0 {
			t.Errorf("%s: %d linearizable reads", q.path, n)
		}
	}
	if got := r.requests(n1, "POST /v1/internal/apply"); got != 0 {
		t.Errorf("%v requests reached the leader", got)
	}
}
