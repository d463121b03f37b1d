package admin

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		c := r.client(n1, r.tok.viewer)
		defer c.Close()
		ctx, cancel := context.WithCancel(context.Background())
		events := make(chan Event, 16)
		done := make(chan error, 1)
		listen := func(after uint64) {
			go func() {
				done <- c.Events(ctx, after, func(e Event) error {
					events <- e
					return nil
				})
			}()
			synctest.Wait()
		}
		next := func() Event {
			select {
			case e := <-events:
				return e
			case <-time.After(time.Minute):
				t.Error("no event came")
				return Event{}
			}
		}
		listen(0)
		start := r.tr.fsm.View().Revision()
		r.tr.must(t, &fsm.SetSetting{Key: "log.level", Value: "warn"})
		r.tr.must(t, &fsm.RequestRun{Task: "sales"})
		first := next()
		want := Event{Revision: start + 2, Since: start, Tables: []string{"settings", "occurrences"}}
		if diff := cmp.Diff(want, first); diff != "" {
			t.Errorf("two changes at once:\n%s", diff)
		}
		time.Sleep(5 * time.Minute) // heartbeats only
		if len(events) != 0 {
			t.Errorf("an event without a change: %+v", <-events)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}

		// What happened while nobody listened is told as "look at everything".
		r.tr.must(t, &fsm.UnsetSetting{Key: "log.level"})
		ctx, cancel = context.WithCancel(context.Background())
		listen(first.Revision)
		if e := next(); e.Revision != start+3 || e.Since != 0 || !slices.Equal(e.Tables, EventTables()) {
			t.Errorf("resumed with %+v", e)
		}
		cancel()
		<-done

		// Nothing happened: nothing is told, and the next change is.
		ctx, cancel = context.WithCancel(context.Background())
		listen(start + 3)
		time.Sleep(time.Minute)
		if len(events) != 0 {
			t.Errorf("resumed at the newest revision: %+v", <-events)
		}
		r.tr.must(t, &fsm.RenameCluster{Name: "other"})
		if e := next(); !slices.Equal(e.Tables, []string{"cluster"}) {
			t.Errorf("after that: %+v", e)
		}
		r.node[n1].stop()
		if err := <-done; !errors.Is(err, ErrUnreachable) {
			t.Errorf("the server stopped: %v", err)
		}
		cancel()
		c.Close()
	})
}

func TestEventsEndWithTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		c := r.client(n1, r.tok.viewer)
		defer c.Close()
		var got []Event
		done := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		go func() {
			done <- c.Events(ctx, 0, func(e Event) error {
				got = append(got, e)
				return nil
			})
		}()
		synctest.Wait()
		who, _ := checkToken(r.tr.fsm.View(), r.tok.viewer, r.tr.Now())
		r.tr.must(t, &fsm.RevokeToken{ID: who.id})
		if err := <-done; !errors.Is(err, ErrUnreachable) || len(got) != 0 {
			t.Errorf("after the revocation: %v, events %+v", err, got)
		}
		c.Close()
	})
}

func TestEventsNeedARole(t *testing.T) {
	r := newRig(t)
	for _, tok := range []string{"", r.tok.unknown} {
		if got := r.do(context.Background(), n1, originTCP, request{method: "GET", path: "/v1/events", token: tok}); got.status != http.StatusUnauthorized {
			t.Errorf("token %.8q: %d", tok, got.status)
		}
	}
	got := r.do(context.Background(), n1, originPeer, request{method: "GET", path: "/v1/events", token: r.tok.admin})
	if got.status != http.StatusNotFound {
		t.Errorf("on the cluster port: %d", got.status)
	}
	bad := r.admin(request{method: "GET", path: "/v1/events", header: map[string]string{"Last-Event-ID": "x"}})
	if bad.status != http.StatusBadRequest {
		t.Errorf("Last-Event-ID x: %d", bad.status)
	}
}

// TestChangedTables applies a command of each sort and looks what is told.
func TestChangedTables(t *testing.T) {
	tr := newTruth()
	tr.seed(t)
	weight := 7
	due := fsm.StampOf(epoch().Add(time.Hour))
	id := fsm.OccurrenceID{Task: "sales", Due: due}
	join := tr.fsm.View().JoinTokens()[0].ID
	cases := []struct {
		name string
		cmd  func() fsm.Command
		want []string
	}{
		{"rename", func() fsm.Command { return &fsm.RenameCluster{Name: "b"} }, []string{"cluster"}},
		{"set", func() fsm.Command { return &fsm.SetSetting{Key: "log.level", Value: "warn"} }, []string{"settings"}},
		{"set again", func() fsm.Command { return &fsm.SetSetting{Key: "log.level", Value: "debug"} }, []string{"settings"}},
		{"unset", func() fsm.Command { return &fsm.UnsetSetting{Key: "log.level"} }, []string{"settings"}},
		{"update node", func() fsm.Command { return &fsm.UpdateNode{ID: n1, Weight: &weight} }, []string{"nodes"}},
		{"node state", func() fsm.Command { return &fsm.SetNodeState{ID: n1, State: peer.StateDraining} }, []string{"nodes"}},
		{"revoke join token", func() fsm.Command { return &fsm.RevokeJoinToken{ID: join} }, []string{"join_tokens"}},
		{"skip", func() fsm.Command {
			tr.now = due.Time().Add(time.Second)
			return &fsm.SkipOccurrence{OccurrenceID: id, State: fsm.OccurrenceMissed}
		}, []string{"occurrences"}},
		{"run", func() fsm.Command { return &fsm.RequestRun{Task: "sales"} }, []string{"occurrences"}},
		{"pause", func() fsm.Command { return &fsm.PauseTask{Name: "sales", Paused: true} }, []string{"tasks"}},
		{"remove task", func() fsm.Command { return &fsm.RemoveTask{Name: "sales"} }, []string{"tasks", "occurrences"}},
		{"remove node", func() fsm.Command { return &fsm.RemoveNode{ID: n3} }, []string{"nodes"}},
	}
	for _, c := range cases {
		old := tr.fsm.View()
		tr.must(t, c.cmd())
		if diff := cmp.Diff(c.want, changed(old.Revision(), tr.fsm.View())); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
	old := tr.fsm.View()
	if _, err := tr.apply(fsm.Proposal{Actor: fsm.Actor{Kind: fsm.ActorLocal, ID: "root"}, Command: &fsm.RenameCluster{Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cluster", "audit"}, changed(old.Revision(), tr.fsm.View())); diff != "" {
		t.Error(diff)
	}
}
