package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxConns bounds the connections of a measurement: more workers share them.
const maxConns = 16

// done is one acknowledged request.
type done struct {
	took  time.Duration
	ended time.Time
}

// measure lets workers ask one member as fast as it answers.
func (s *session) measure(ctx context.Context, q question) (answer, error) {
	if q.Workers < 1 || q.Keys < 1 || q.Member < 0 || q.Member >= len(s.members) {
		return answer{}, errors.New("workers, keys and a member are needed")
	}
	same := make([]string, min(q.Workers, maxConns))
	for i := range same {
		same[i] = s.members[q.Member]
	}
	conns, err := connect(same, writer)
	if err != nil {
		return answer{}, err
	}
	defer conns.close()
	ask, err := asking(q)
	if err != nil {
		return answer{}, err
	}
	var stop atomic.Bool
	var seq atomic.Int64
	results := make([][]done, q.Workers)
	errs := make(chan error, q.Workers)
	var wg sync.WaitGroup
	for w := range q.Workers {
		wg.Go(func() {
			for !stop.Load() {
				began := time.Now()
				if err := ask(ctx, conns[w%len(conns)], seq.Add(1)); err != nil {
					errs <- err
					stop.Store(true)
					return
				}
				ended := time.Now()
				results[w] = append(results[w], done{ended.Sub(began), ended})
			}
		})
	}
	from, to, err := s.window(ctx, q)
	stop.Store(true)
	wg.Wait()
	close(errs)
	if e := <-errs; err == nil {
		err = e
	}
	a := answer{Began: from.UnixNano(), Ended: to.UnixNano()}
	for _, r := range results {
		for _, d := range r {
			if !d.ended.Before(from) && d.ended.Before(to) {
				a.Latencies = append(a.Latencies, d.took)
			}
		}
	}
	return a, err
}

// window waits out what is to be waited and says when the time that counts begins
// and ends.
func (s *session) window(ctx context.Context, q question) (from, to time.Time, err error) {
	if err = sleep(ctx, q.Warm); err != nil {
		return
	}
	from = time.Now()
	if err = s.out.Encode(answer{Event: "begin"}); err != nil {
		return
	}
	if err = sleep(ctx, q.Time); err != nil {
		return
	}
	to = time.Now()
	err = s.out.Encode(answer{Event: "end"})
	return
}

// asking is one request of the kind, with a check of its answer.
func asking(q question) (func(context.Context, *clientv3.Client, int64) error, error) {
	size := max(q.ValueBytes, 16)
	switch q.Kind {
	case "put":
		return func(ctx context.Context, c *clientv3.Client, seq int64) error {
			r, err := c.Put(ctx, key(int(seq)%q.Keys), fmt.Sprintf("%0*d", size, seq))
			if err == nil && r.Header.Revision == 0 {
				err = errors.New("a put without a revision")
			}
			return err
		}, nil
	case "get", "stale":
		var opts []clientv3.OpOption
		if q.Kind == "stale" {
			opts = append(opts, clientv3.WithSerializable())
		}
		return func(ctx context.Context, c *clientv3.Client, seq int64) error {
			r, err := c.Get(ctx, key(int(seq)%q.Keys), opts...)
			if err == nil && (len(r.Kvs) != 1 || len(r.Kvs[0].Value) != size) {
				err = fmt.Errorf("%d rows were read, want one", len(r.Kvs))
			}
			return err
		}, nil
	}
	return nil, fmt.Errorf("there is no kind %q", q.Kind)
}
