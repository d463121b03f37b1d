package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/fsm"
)

// put writes a row of its own.
func put(name string) fsm.Proposal { return putIf(name, "x", 0) }

func putIf(name, value string, cond fsm.Match) fsm.Proposal {
	var id fsm.CommandID
	_, _ = rand.Read(id[:])
	return fsm.Proposal{ID: id, Actor: fsm.Actor{Kind: fsm.ActorLocal, ID: "root"},
		Command: &fsm.PutSecret{Name: name, KeyID: 1, Sealed: []byte(value), If: cond}}
}

// load is writers that each write one row after the other, and what they were told.
type load struct {
	c    *group
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked []string
	at    []time.Time // of each acknowledgement
	lost  []error     // writes of an unknown outcome, or refused
}

// write starts n writers, which take turns at the given nodes and rest between writes.
func (c *group) write(n int, at []*member, rest time.Duration) *load {
	ctx, stop := context.WithCancel(c.t.Context())
	w := &load{c: c, stop: stop}
	for i := range n {
		w.wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				w.one(ctx, at[(i+k)%len(at)].live.Load(), fmt.Sprintf("w%d-%d", i, k))
				pause(ctx, rest)
			}
		})
	}
	return w
}

func (w *load) one(ctx context.Context, s *Store, name string) {
	if s == nil {
		return
	}
	_, err := s.Apply(ctx, put(name))
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.acked = append(w.acked, name)
		w.at = append(w.at, time.Now())
	case !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed):
		w.lost = append(w.lost, err)
	}
}

// next is how long after since the first write was acknowledged that was begun or
// under way then.
func (w *load) next(since time.Time) time.Duration {
	w.c.t.Helper()
	for range 20_000 {
		w.mu.Lock()
		i := slices.IndexFunc(w.at, func(t time.Time) bool { return t.After(since) })
		if i >= 0 {
			defer w.mu.Unlock()
			return w.at[i].Sub(since)
		}
		w.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	w.c.t.Fatal("no write was acknowledged in twenty seconds")
	return 0
}

// gap is the longest time without an acknowledgement since a moment.
func (w *load) gap(since time.Time) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	var most time.Duration
	for _, t := range w.at {
		if t.After(since) {
			most = max(most, t.Sub(since))
			since = t
		}
	}
	return most
}

// end stops the writers, and looks that what was acknowledged is there.
func (w *load) end() {
	w.c.t.Helper()
	w.stop()
	w.wg.Wait()
	v, err := w.c.leader("").store.Read(w.c.t.Context())
	if err != nil {
		w.c.t.Fatal(err)
	}
	missing := 0
	for _, name := range w.acked {
		if v.Secret(name) == nil {
			missing++
		}
	}
	if missing > 0 {
		w.c.t.Errorf("%d of %d acknowledged writes are gone", missing, len(w.acked))
	}
	w.c.t.Logf("%d writes were acknowledged, %d failed", len(w.acked), len(w.lost))
}
