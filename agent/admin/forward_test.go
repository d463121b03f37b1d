package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func localRun(id byte) fsm.Proposal {
	return fsm.Proposal{ID: fsm.CommandID{id, 1}, Actor: fsm.Actor{Kind: fsm.ActorLocal, ID: "root"}, Command: &fsm.RenameCluster{Name: fmt.Sprintf("c%d", id)}}
}

// TestCommandsTravelTogether holds the leader up and counts the requests in which
// waiting commands arrive.
func TestCommandsTravelTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		var mu sync.Mutex
		applied := 0
		hold := make(chan struct{})
		r.node[n1].b.onApply = func(fsm.Proposal) error {
			<-hold
			mu.Lock()
			defer mu.Unlock()
			applied++
			return nil
		}
		const callers = 100
		var wg sync.WaitGroup
		revisions := make([]uint64, callers)
		for i := range callers {
			wg.Go(func() {
				res, err := r.node[n2].f.Apply(context.Background(), n1, localRun(byte(i)))
				if err != nil {
					t.Errorf("command %d: %v", i, err)
				}
				revisions[i] = res.Revision
			})
			synctest.Wait() // the first leaves alone, the rest waits
		}
		r.node[n2].f.mu.Lock()
		waiting, flights := len(r.node[n2].f.lanes[n1].waiting), r.node[n2].f.lanes[n1].flights
		r.node[n2].f.mu.Unlock()
		if waiting != callers-1 || flights != 1 {
			t.Errorf("%d wait, %d flights", waiting, flights)
		}
		close(hold)
		wg.Wait()
		if applied != callers {
			t.Errorf("%d of %d were applied", applied, callers)
		}
		seen := map[uint64]bool{}
		for i, rev := range revisions {
			if rev == 0 || seen[rev] {
				t.Errorf("command %d has revision %d", i, rev)
			}
			seen[rev] = true
		}
		synctest.Wait()
		if n := len(r.node[n2].f.lanes); n != 0 {
			t.Errorf("%d lanes are left", n)
		}
		if got := r.requests(n1, "POST /v1/internal/apply"); got != 2 {
			t.Errorf("%v requests", got)
		}
	})
}

// TestSlowFlights holds that commands do not wait long behind one that is slow, that no
// more than maxFlights are under way, and that one remains when they are quick again.
func TestSlowFlights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		hold := make(chan struct{})
		r.node[n1].b.onApply = func(p fsm.Proposal) error {
			if p.Command.(*fsm.RenameCluster).Name < "c6" {
				<-hold
			}
			return nil
		}
		flights := func() int {
			r.node[n2].f.mu.Lock()
			defer r.node[n2].f.mu.Unlock()
			if l := r.node[n2].f.lanes[n1]; l != nil {
				return l.flights
			}
			return 0
		}
		var wg sync.WaitGroup
		apply := func(id byte) {
			wg.Go(func() {
				if _, err := r.node[n2].f.Apply(context.Background(), n1, localRun(id)); err != nil {
					t.Errorf("command %d: %v", id, err)
				}
			})
			synctest.Wait()
		}
		apply(0) // slow
		began := time.Now()
		apply(60) // quick
		if n := flights(); n != 1 {
			t.Errorf("%d flights at once", n)
		}
		time.Sleep(flightPatience)
		synctest.Wait()
		if n := flights(); n != 1 || r.requests(n1, "POST /v1/internal/apply") != 1 { // the second has come back
			t.Errorf("%d flights after %v", n, time.Since(began))
		}
		for id := byte(1); id <= maxFlights+1; id++ { // all slow
			apply(id)
			time.Sleep(2 * flightPatience)
			synctest.Wait()
			if n, want := flights(), min(int(id)+1, maxFlights); n != want {
				t.Errorf("%d flights, want %d", n, want)
			}
		}
		close(hold)
		wg.Wait()
		synctest.Wait()
		if n := flights(); n != 0 {
			t.Errorf("%d flights are left", n)
		}
	})
}

func TestNotSentAndUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		f := r.node[n2].f
		apply := func(ctx context.Context, id byte) (notSent bool, err error) {
			_, err = f.Apply(ctx, n1, localRun(id))
			var not *consensus.NotSentError
			return errors.As(err, &not), err
		}
		// Nobody listens: not sent.
		r.net.Reset(r.node[n1].host)
		r.node[n1].served.Wait()
		if not, err := apply(context.Background(), 1); !not {
			t.Errorf("refused connection: %v", err)
		}
		r.start(r.node[n1])
		if _, err := apply(context.Background(), 2); err != nil {
			t.Fatal(err)
		}
		// The leader dies while it works: unknown.
		r.node[n1].b.onApply = func(fsm.Proposal) error {
			r.net.Reset(r.node[n1].host)
			return errors.New("dead")
		}
		not, err := apply(context.Background(), 3)
		if err == nil || not {
			t.Errorf("connection lost after the request: not sent %v, %v", not, err)
		}
		r.node[n1].served.Wait()
		r.node[n1].b.onApply = nil
		r.start(r.node[n1])
		// A black hole, on a fresh connection: the dial ends by its own time, not sent.
		r.net.Cut(r.node[n1].host, r.node[n2].host)
		ctx, cancel := context.WithTimeout(context.Background(), 7*time.Second)
		defer cancel()
		began := time.Now()
		if not, err := apply(ctx, 4); !not || time.Since(began) > dialTimeout {
			t.Errorf("black hole: not sent %v after %v, %v", not, time.Since(began), err)
		}
		r.net.HealAll()
		// A black hole behind a live connection: sent, no answer, unknown.
		if _, err := apply(context.Background(), 5); err != nil {
			t.Fatal(err)
		}
		r.net.Cut(r.node[n1].host, r.node[n2].host)
		ctx2, cancel2 := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel2()
		if not, err := apply(ctx2, 6); not || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no answer: not sent %v, %v", not, err)
		}
		r.net.HealAll()
		// The leader says that it is none: not sent.
		r.tr.setLeader(n3)
		if not, err := apply(context.Background(), 7); !not || !errors.Is(err, consensus.ErrNotLeader) {
			t.Errorf("not the leader: not sent %v, %v", not, err)
		}
		// It lost its office in between, for one command of a batch.
		r.tr.setLeader(n1)
		r.node[n1].b.onApply = func(fsm.Proposal) error { return &consensus.NotSentError{Err: consensus.ErrNotLeader} }
		if not, err := apply(context.Background(), 8); !not {
			t.Errorf("lost its office: %v", err)
		}
		r.node[n1].b.onApply = func(fsm.Proposal) error { return errors.New("leadership lost while committing") }
		if not, err := apply(context.Background(), 9); not || err == nil || errors.Is(err, consensus.ErrDenied) {
			t.Errorf("outcome unknown: %v", err)
		}
	})
}

// TestWaitingCommandIsTakenBack holds that a caller who gives up before his command
// has left knows that it was not sent, and that it is not sent later.
func TestWaitingCommandIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		hold := make(chan struct{})
		var mu sync.Mutex
		var names []string
		r.node[n1].b.onApply = func(p fsm.Proposal) error {
			<-hold
			mu.Lock()
			defer mu.Unlock()
			names = append(names, p.Command.(*fsm.RenameCluster).Name)
			return nil
		}
		var wg sync.WaitGroup
		for i := range maxFlights {
			wg.Go(func() { _, _ = r.node[n2].f.Apply(context.Background(), n1, localRun(byte(i))) })
			time.Sleep(2 * flightPatience) // each in a flight of its own
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := r.node[n2].f.Apply(ctx, n1, localRun(77))
		var not *consensus.NotSentError
		if !errors.As(err, &not) {
			t.Errorf("%v", err)
		}
		close(hold)
		wg.Wait()
		synctest.Wait()
		if len(names) != maxFlights {
			t.Errorf("applied: %v", names)
		}
	})
}

func TestForwarderClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := make(chan struct{})
		f := NewForwarder(func(ctx context.Context, _ peer.ID) (net.Conn, error) {
			close(began)
			<-ctx.Done()
			return nil, ctx.Err()
		}, nil)
		done := make(chan error, 1)
		go func() {
			_, err := f.Apply(context.Background(), n1, localRun(1))
			done <- err
		}()
		<-began
		start := time.Now()
		f.Close()
		var not *consensus.NotSentError
		if err := <-done; !errors.As(err, &not) || time.Since(start) > 0 {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		if _, err := f.Apply(context.Background(), n1, localRun(2)); !errors.As(err, &not) {
			t.Errorf("closed: %v", err)
		}
		f.Close()
	})
}
