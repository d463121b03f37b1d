package consensus

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// TestCallersMayLeave cuts a leader off and asks it at once, before it knows: nobody
// confirms, and whoever asked leaves when it wants to.
func TestCallersMayLeave(t *testing.T) {
	both := []error{context.Canceled, context.DeadlineExceeded}
	for _, call := range []struct {
		name    string
		do      func(ctx context.Context, s *Store) error
		unknown bool
		ends    []error
	}{
		{"propose", func(ctx context.Context, s *Store) error {
			_, err := s.Propose(ctx, set("session.scope", "document"))
			return err
		}, true, both},
		{"read", func(ctx context.Context, s *Store) error { _, err := s.ReadHere(ctx); return err }, false, both},
		{"change the voters", func(ctx context.Context, s *Store) error { return s.AddVoter(ctx, id(1)) }, true,
			both[:1]}, // a second one is not even begun while the first is under way
	} {
		t.Run(call.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTrio(t)
				defer c.stopAll()
				l := c.leader("")
				time.Sleep(time.Second)
				c.net.Isolate(c.hosts[l.id])
				for _, end := range call.ends {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					if errors.Is(end, context.Canceled) {
						time.AfterFunc(20*time.Millisecond, cancel)
					}
					began := time.Now()
					err := call.do(ctx, l.store)
					cancel()
					var not *NotSentError
					if !errors.Is(err, end) || errors.As(err, &not) || errors.Is(err, ErrUnknown) != call.unknown {
						t.Errorf("%v; want %v, unknown %v", err, end, call.unknown)
					}
					if took := time.Since(began); took > 50*time.Millisecond {
						t.Errorf("it took %v to leave", took)
					}
				}
				if l.store.calls.count()+l.store.loose.count() == 0 {
					t.Error("the calls are not counted while Raft is at work on them")
				}
				time.Sleep(2 * time.Second) // it knows by now, and has answered
				if n := l.store.calls.count() + l.store.loose.count(); n != 0 {
					t.Errorf("%d calls are still under way", n)
				}
				c.net.HealAll()
			})
		})
	}
}

// TestCloseWithACallUnderWay leaves no goroutine behind, or the bubble says so.
func TestCloseWithACallUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		c.net.Isolate(c.hosts[l.id])
		done := make(chan error)
		go func() {
			_, err := l.store.Propose(t.Context(), set("session.scope", "document"))
			done <- err
		}()
		synctest.Wait()
		ended := make(chan error)
		go func() { ended <- <-done }()
		c.stop(l.id)
		if err := <-ended; err == nil {
			t.Fatal("acknowledged by nobody")
		}
		s := c.nodes[c.ids[0]].store
		if s == nil {
			s = c.nodes[c.ids[1]].store
		}
		must(t, s.Close())
		if _, err := s.Propose(t.Context(), fsm.Proposal{Command: &fsm.SetSetting{Key: "k"}}); !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
		if _, err := s.ReadHere(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close: %v", err)
		}
		c.net.HealAll()
	})
}

// TestDialErrorsAreOfTheNetwork lets the logger tell a peer that is away from a fault.
func TestDialErrorsAreOfTheNetwork(t *testing.T) {
	errNoRoute := errors.New("no address is known")
	s := stream{dial: func(context.Context, peer.ID) (net.Conn, error) { return nil, errNoRoute }}
	_, err := s.Dial("x", time.Second)
	var op *net.OpError
	if !errors.As(err, &op) || !errors.Is(err, errNoRoute) {
		t.Fatalf("%v", err)
	}
}
