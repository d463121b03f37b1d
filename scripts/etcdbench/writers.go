package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// tryTimeout bounds one try of a background writer, as of those of usher. A member
// whose proposal was lost with the leader answers after seven seconds only.
const tryTimeout = 100 * time.Millisecond

// ack is one acknowledged write: times in nanoseconds since 1970.
type ack struct {
	began, ended int64
	revision     int64
}

// writers write one key each until they are stopped, and note every
// acknowledgement. A try that fails is followed at once by one at another member.
type writers struct {
	avoid  atomic.Int64 // a member; -1: none
	paused atomic.Bool
	conns  clients
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	acks    []ack
	last    []int64 // of each key, the highest acknowledged revision
	unknown int
}

func (s *session) write(q question) error {
	if s.writers != nil || q.Workers < 1 {
		return errors.New("writers are started once, one or more")
	}
	conns, err := connect(s.members, writer)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{conns: conns, cancel: cancel, last: make([]int64, q.Workers)}
	w.avoid.Store(-1)
	for i := range q.Workers {
		w.wg.Go(func() { w.loop(ctx, i, max(q.ValueBytes, 16)) })
	}
	s.writers = w
	return nil
}

func (w *writers) loop(ctx context.Context, i, size int) {
	at := i % len(w.conns)
	for seq := int64(1); ctx.Err() == nil; seq++ {
		if w.paused.Load() {
			if sleep(ctx, 5*time.Millisecond) != nil {
				return
			}
			continue
		}
		if int64(at) == w.avoid.Load() {
			at = (at + 1) % len(w.conns)
		}
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		began := time.Now().UnixNano()
		r, err := w.conns[at].Put(try, key(i), fmt.Sprintf("%0*d", size, seq))
		ended := time.Now().UnixNano()
		cancel()
		w.mu.Lock()
		if err == nil {
			w.acks = append(w.acks, ack{began, ended, r.Header.Revision})
			w.last[i] = max(w.last[i], r.Header.Revision)
		} else if ctx.Err() == nil {
			w.unknown++
		}
		w.mu.Unlock()
		if err != nil {
			at = (at + 1) % len(w.conns)
			_ = sleep(ctx, time.Millisecond) // as the writers of usher; the loop sees the end
		}
	}
}

// recovered waits as the package says.
func (w *writers) recovered(ctx context.Context, after int64) (answer, error) {
	for !w.began(after) {
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return answer{}, fmt.Errorf("no write was acknowledged any more: %w", err)
		}
	}
	if err := sleep(ctx, time.Second); err != nil {
		return answer{}, err
	}
	return w.since(after), nil
}

func (w *writers) began(after int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].ended > after; i-- {
		if w.acks[i].began > after {
			return true
		}
	}
	return false
}

func (w *writers) since(after int64) answer {
	a := answer{Began: after, Ended: time.Now().UnixNano()}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.acks) - 1; i >= 0 && w.acks[i].ended > after; i-- {
		a.Acks = append(a.Acks, w.acks[i].ended)
		if w.acks[i].began > after && (a.Fresh == 0 || w.acks[i].ended < a.Fresh) {
			a.Fresh = w.acks[i].ended
		}
	}
	return a
}

func (s *session) move(ctx context.Context) (answer, error) {
	began := time.Now().UnixNano()
	if err := s.moveLeader(ctx); err != nil {
		return answer{}, err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return answer{}, err
	}
	return s.writers.since(began), nil
}

func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
	w.conns.close()
}

// finish ends the writers and reads every key.
func (s *session) finish(ctx context.Context) (answer, error) {
	w := s.writers
	s.writers = nil
	w.stop()
	for i, want := range w.last {
		r, err := s.admin[0].Get(ctx, key(i))
		if err != nil {
			return answer{}, fmt.Errorf("read %s: %w", key(i), err)
		}
		var got int64
		if len(r.Kvs) == 1 {
			got = r.Kvs[0].ModRevision
		}
		if got < want {
			return answer{}, fmt.Errorf("%s is at revision %d, and %d was acknowledged", key(i), got, want)
		}
	}
	return answer{Writes: len(w.acks), Unknown: w.unknown}, nil
}
