//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
)

// usher is a cluster of agents under background writers.
type usher struct {
	*bench.Usher
	seq    atomic.Int64
	skip   atomic.Int64 // the agent that is avoided; -1: none
	paused atomic.Bool
	stop   chan struct{} // closed: the writers end; nil: there are none
	wg     sync.WaitGroup

	mu      sync.Mutex
	writes  []bench.Write
	unknown int // of writes
	unmoved int // planned moves that did not come about
	noted   int // writes of which a tally has told
}

func openUsher(ctx context.Context, binary, dir string, n int, nets *bench.Namespaces) (target, error) {
	c, err := bench.OpenUsher(ctx, bench.UsherConfig{Binary: binary, Dir: dir, Nodes: n, Net: nets})
	if err != nil {
		return nil, err
	}
	u := &usher{Usher: c}
	u.skip.Store(-1)
	return u, nil
}

func (u *usher) leader(ctx context.Context) (int, error)   { return u.Leader(ctx) }
func (u *usher) member(i int) *bench.Process               { return u.Agents[i].Process }
func (u *usher) caughtUp(ctx context.Context, i int) error { return u.CaughtUp(ctx, i) }

func (u *usher) succeeded(ctx context.Context, i int) error {
	_, err := u.Leader(ctx, i)
	return err
}

func (u *usher) avoid(_ context.Context, i int) error {
	u.skip.Store(int64(i))
	return nil
}

func (u *usher) pause(_ context.Context, on bool) error {
	u.paused.Store(on)
	return nil
}

func (u *usher) write(_ context.Context, workers int) error {
	u.stop = make(chan struct{})
	u.paused.Store(false)
	for w := range workers {
		u.wg.Go(func() { u.loop(w, u.stop) })
	}
	return nil
}

// loop writes until it is stopped; a try that fails is followed by one at another
// agent.
func (u *usher) loop(w int, stop <-chan struct{}) {
	conns := make([]*bench.Conn, len(u.Agents))
	for i, a := range u.Agents {
		conns[i] = bench.NewConn(a.API, tryTimeout)
		defer conns[i].Close()
	}
	at := w % len(conns)
	for {
		wait := time.Duration(0)
		switch {
		case u.paused.Load():
			wait = 5 * time.Millisecond
		case int64(at) == u.skip.Load():
			at = (at + 1) % len(conns)
		case !u.try(conns[at], at):
			at = (at + 1) % len(conns)
			wait = time.Millisecond
		}
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
	}
}

func (u *usher) try(c *bench.Conn, at int) bool {
	seq := u.seq.Add(1)
	write := bench.Write{Key: int(seq) % bench.Keys, Seq: seq}
	host := "localhost" // on the socket
	if u.Agents[at].API[0] != '/' {
		host = u.Agents[at].API
	}
	request := bench.Request("PUT", "/v1/settings/"+bench.Setting(write.Key), host, u.Token, `{"value":"`+bench.Value(write.Key, seq)+`"}`)
	write.Began = time.Now().UnixNano()
	a, err := c.Do(request)
	ended := time.Now().UnixNano()
	if err == nil {
		write.Version, err = bench.CheckSetting(a, write.Key)
	}
	if err == nil {
		write.Ended = ended
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.writes = append(u.writes, write)
	if err != nil {
		u.unknown++
	}
	return err == nil
}

func (u *usher) recovered(ctx context.Context, after time.Time) (span, error) {
	from := after.UnixNano()
	if err := bench.Until(ctx, time.Minute, "a write is acknowledged again", func(context.Context) bool { return u.began(from) }); err != nil {
		return span{}, err
	}
	if err := bench.Sleep(ctx, time.Second); err != nil {
		return span{}, err
	}
	return u.since(from), nil
}

// began reports whether a write that began after the time has been acknowledged.
func (u *usher) began(after int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := len(u.writes) - 1; i >= 0 && (u.writes[i].Ended == 0 || u.writes[i].Ended > after); i-- {
		if u.writes[i].Ended != 0 && u.writes[i].Began > after {
			return true
		}
	}
	return false
}

func (u *usher) since(from int64) span {
	s := span{from: from, to: time.Now().UnixNano()}
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := len(u.writes) - 1; i >= 0 && (u.writes[i].Ended == 0 || u.writes[i].Ended > from); i-- {
		w := u.writes[i]
		if w.Ended == 0 {
			continue
		}
		s.acks = append(s.acks, w.Ended)
		if w.Began > from && (s.fresh == 0 || w.Ended < s.fresh) {
			s.fresh = w.Ended
		}
	}
	return s
}

func (u *usher) move(ctx context.Context) (span, error) {
	leads, err := u.Leader(ctx)
	if err != nil {
		return span{}, err
	}
	began := time.Now()
	var refused *admin.Problem
	switch _, err := u.Agents[leads].Client.MoveCentral(ctx, ""); {
	case errors.As(err, &refused) && refused.Code == admin.CodeConflict:
		u.unmoved++ // the old leader goes on, and has held writes back all the same
	case err != nil:
		return span{}, fmt.Errorf("move: %w", err)
	}
	if err := bench.Sleep(ctx, time.Second); err != nil {
		return span{}, err
	}
	return u.since(began.UnixNano()), nil
}

// lateWrites is how long a try that its writer gave up may still take effect.
const lateWrites = 2 * time.Second

func (u *usher) finish(ctx context.Context) (tally, error) {
	u.end()
	if err := bench.Sleep(ctx, lateWrites); err != nil {
		return tally{}, err
	}
	final, _, err := u.Final(ctx)
	if err != nil {
		return tally{}, err
	}
	t := tally{acknowledged: len(u.writes) - u.noted - u.unknown, unknown: u.unknown, unmoved: u.unmoved}
	u.noted, u.unknown, u.unmoved = len(u.writes), 0, 0
	return t, bench.Lost(u.writes, final)
}

// end stops the writers.
func (u *usher) end() {
	if u.stop != nil {
		close(u.stop)
		u.wg.Wait()
		u.stop = nil
	}
}

// Close ends the writers and the agents.
func (u *usher) Close() error {
	u.end()
	for _, a := range u.Agents {
		if !a.Running() {
			return errors.Join(fmt.Errorf("%s is not running; its last words:\n%s", a.Name, a.Words()), u.Usher.Close())
		}
	}
	return u.Usher.Close()
}
