package consensus

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// TestShipment proposes several commands in one call: each has its own outcome.
func TestShipment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		if none := l.store.ProposeAll(t.Context(), nil); len(none) != 0 {
			t.Fatalf("%+v of nothing", none)
		}
		out := l.store.ProposeAll(t.Context(), []fsm.Proposal{
			putIf("row", "first", fsm.Absent), putIf("row", "second", fsm.Absent), put("other"),
		})
		for i, o := range out {
			if o.Err != nil || o.Result.Revision != out[0].Result.Revision+uint64(i) {
				t.Fatalf("command %d: %+v", i, o)
			}
		}
		if out[0].Result.Err() != nil || !fsm.IsCode(out[1].Result.Err(), fsm.CodeConflict) || out[2].Result.Err() != nil {
			t.Errorf("%+v: want the second refused, and it alone", out)
		}
		if o := c.others(l)[0].store.ProposeAll(t.Context(), []fsm.Proposal{put("x"), put("y")}); !errors.Is(o[0].Err, ErrNotLeader) || !errors.Is(o[1].Err, ErrNotLeader) {
			t.Errorf("a follower says %+v", o)
		}
	})
}

// TestShipmentThatIsLeft has a part that is under way and a part that waits when its
// caller leaves.
func TestShipmentThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.SetDelay(20 * time.Millisecond)
		fillSlots(t, l.store)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan []Outcome, 1)
		many := make([]fsm.Proposal, fsm.MaxEntryItems+2) // more than the next entry holds
		for i := range many {
			many[i] = put("many")
		}
		go func() { done <- l.store.ProposeAll(ctx, many) }()
		synctest.Wait()
		cancel()
		unknown, left := 0, 0
		for _, o := range <-done {
			var not *NotSentError
			switch {
			case errors.As(o.Err, &not) && errors.Is(o.Err, context.Canceled):
				left++
			case errors.Is(o.Err, ErrUnknown):
				unknown++
			default:
				t.Fatalf("%+v", o)
			}
		}
		if left == 0 || left+unknown != len(many) {
			t.Errorf("%d taken back, %d unknown of %d", left, unknown, len(many))
		}
		c.net.SetDelay(0)
		time.Sleep(time.Second)
		if n := l.store.calls.count(); n != 0 {
			t.Errorf("%d calls are still counted", n)
		}
	})
}
