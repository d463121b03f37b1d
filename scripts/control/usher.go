//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// askTimeout bounds one request: longer than the agent itself tries.
const askTimeout = 20 * time.Second

// usher is three agents and everything that was written to them.
type usher struct {
	*bench.Usher
	seq    atomic.Int64
	before uint64 // revision before the first write

	mu     sync.Mutex
	writes []bench.Write
}

func openUsher(ctx context.Context, o options, dir string) (cluster, error) {
	c, err := bench.OpenUsher(ctx, bench.UsherConfig{Binary: o.binary, Dir: dir, Nodes: nodes})
	if err != nil {
		return nil, err
	}
	u := &usher{Usher: c}
	now, err := c.Agents[0].Client.Status(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the status: %w", err), c.Close())
	}
	u.before = now.Index
	return u, nil
}

// load is one measurement under way.
type load struct {
	u    *usher
	what scenario
	host string
	stop atomic.Bool

	mu        sync.Mutex
	exchanges []exchange
	failed    error
}

// exchange is one answered request.
type exchange struct{ began, ended time.Time }

func (u *usher) measure(ctx context.Context, what scenario, d time.Duration) (sample, error) {
	at, err := u.Leader(ctx)
	if err != nil {
		return sample{}, err
	}
	if what.follower {
		at = (at + 1) % len(u.Agents)
	}
	l := &load{u: u, what: what, host: u.Agents[at].API}
	var wg sync.WaitGroup
	for w := range what.workers {
		wg.Go(func() { l.work(w) })
	}
	from, err := u.mark(ctx, warmUp)
	var to mark
	if err == nil {
		to, err = u.mark(ctx, d)
	}
	l.stop.Store(true)
	wg.Wait()
	if err := errors.Join(err, l.failed); err != nil {
		return sample{}, err
	}
	if now, err := u.Leader(ctx); err != nil || !what.follower && u.Agents[now].API != l.host {
		return sample{}, errors.Join(errors.New("another node became the leader meanwhile"), err)
	}
	var latencies []time.Duration
	for _, x := range l.exchanges {
		if !x.ended.Before(from.at) && x.ended.Before(to.at) {
			latencies = append(latencies, x.ended.Sub(x.began))
		}
	}
	return newSample(latencies, to.at.Sub(from.at), to.servers-from.servers, to.client-from.client)
}

// mark is a moment with the processor time taken until then.
type mark struct {
	at      time.Time
	servers time.Duration
	client  time.Duration
}

func (u *usher) mark(ctx context.Context, after time.Duration) (m mark, err error) {
	if err := bench.Sleep(ctx, after); err != nil {
		return m, err
	}
	return takeMark(ctx, u.PIDs(), os.Getpid())
}

func takeMark(ctx context.Context, servers []int, client int) (m mark, err error) {
	if len(servers) != nodes {
		return m, fmt.Errorf("%d of %d servers run", len(servers), nodes)
	}
	if m.servers, err = bench.Processor(ctx, servers...); err != nil {
		return m, err
	}
	if m.client, err = bench.Processor(ctx, client); err != nil {
		return m, err
	}
	m.at = time.Now()
	return m, nil
}

// work asks until the measurement is over.
func (l *load) work(worker int) {
	c := bench.NewConn(l.host, askTimeout)
	defer c.Close()
	var own []exchange
	var writes []bench.Write
	var err error
	for n := 0; err == nil && !l.stop.Load(); n++ {
		k := (worker + n) % bench.Keys
		var x exchange
		if l.what.kind == put {
			var w bench.Write
			x, w, err = l.write(c, k)
			writes = append(writes, w)
		} else {
			x, err = l.read(c, k)
		}
		own = append(own, x)
	}
	l.mu.Lock()
	l.exchanges = append(l.exchanges, own...)
	if err != nil && l.failed == nil {
		l.failed = err
		l.stop.Store(true)
	}
	l.mu.Unlock()
	l.u.mu.Lock()
	l.u.writes = append(l.u.writes, writes...)
	l.u.mu.Unlock()
}

func (l *load) write(c *bench.Conn, k int) (exchange, bench.Write, error) {
	w := bench.Write{Key: k, Seq: l.u.seq.Add(1)}
	request := bench.Request("PUT", "/v1/settings/"+bench.Setting(k), l.host, l.u.Token, `{"value":"`+bench.Value(k, w.Seq)+`"}`)
	x := exchange{began: time.Now()}
	w.Began = x.began.UnixNano()
	a, err := c.Do(request)
	x.ended = time.Now()
	if err != nil {
		return x, w, err
	}
	if w.Version, err = bench.CheckSetting(a, k); err != nil {
		return x, w, err
	}
	if a.Stale || w.Version == 0 {
		return x, w, fmt.Errorf("a write was answered without what it changed: %s", a.Body)
	}
	w.Ended = x.ended.UnixNano()
	return x, w, nil
}

func (l *load) read(c *bench.Conn, k int) (exchange, error) {
	path := "/v1/settings/" + bench.Setting(k)
	if l.what.kind == stale {
		path += "?stale"
	}
	request := bench.Request("GET", path, l.host, l.u.Token, "")
	x := exchange{began: time.Now()}
	a, err := c.Do(request)
	x.ended = time.Now()
	if err != nil {
		return x, err
	}
	if a.Stale != (l.what.kind == stale) {
		return x, fmt.Errorf("a read of kind %s was answered as the other kind", l.what.kind)
	}
	_, err = bench.CheckSetting(a, k)
	return x, err
}

// verify holds the agents' state against each other and against the writes.
func (u *usher) verify(ctx context.Context) error {
	final, revision, err := u.Final(ctx)
	if err != nil {
		return err
	}
	if did := revision - u.before; did < uint64(len(u.writes)) {
		return fmt.Errorf("%d writes were acknowledged in %d revisions", len(u.writes), did)
	}
	return bench.Lost(u.writes, final)
}
