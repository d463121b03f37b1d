package agent

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// TestCauseIsSaidOnce: what ended a group is not said again when the group is stopped.
func TestCauseIsSaidOnce(t *testing.T) {
	failed, other := errors.New("failed"), errors.New("cannot be closed")
	g := newGroup(t.Context())
	var s stack
	s.push("other", func() error { return other })
	s.push("services", g.stop)
	g.Go("self", func(context.Context) error { return failed })
	<-g.ctx.Done()
	cause := context.Cause(g.ctx)
	err := errors.Join(cause, s.unwind(cause))
	if !errors.Is(err, failed) || !errors.Is(err, other) || strings.Count(err.Error(), failed.Error()) != 1 {
		t.Fatalf("%v", err)
	}
}
