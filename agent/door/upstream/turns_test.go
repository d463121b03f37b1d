package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// openings counts connections that are being opened, each of which takes a second.
type openings struct{ now, most, all atomic.Int64 }

func (o *openings) dial(l *lab) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		o.all.Add(1)
		if n := o.now.Add(1); n > o.most.Load() {
			o.most.Store(n)
		}
		defer o.now.Add(-1)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return l.door.DialContext(ctx, "tcp", "10.0.0.2:80")
	}
}

// inTurns runs fn with a pool that opens two at a time.
func inTurns(t *testing.T, fn func(l *lab, o *openings)) {
	t.Helper()
	var l *lab
	o := new(openings)
	cfg := Config{MaxDials: 2, Dial: func(ctx context.Context) (net.Conn, error) { return o.dial(l)(ctx) }}
	inLab(t, cfg, numbered, func(own *lab) {
		l = own
		fn(l, o)
	})
}

// all sends n requests at once and returns how they ended.
func (l *lab) all(ctx context.Context, n int) (errs []error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			resp, err := l.pool.RoundTrip(ctx, get())
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	wg.Wait()
	return errs
}

func TestManyAtOnceOpenFewConnections(t *testing.T) {
	inTurns(t, func(l *lab, o *openings) {
		began := time.Now()
		for _, err := range l.all(l.Context(), 100) {
			if err != nil {
				t.Error(err)
			}
		}
		if o.most.Load() > 2 || o.all.Load() > 4 || time.Since(began) > 3*time.Second {
			t.Errorf("%d connections were opened, %d at a time, in %s", o.all.Load(), o.most.Load(), time.Since(began))
		}
		if n := l.pool.Idle(); n == 0 || n > 4 {
			t.Errorf("%d are idle then", n)
		}
	})
}

// Who does not wait any longer leaves his turn to others.
func TestTurnOfOneWhoLeft(t *testing.T) {
	inTurns(t, func(l *lab, o *openings) {
		ctx, cancel := context.WithCancel(l.Context())
		go func() { time.Sleep(500 * time.Millisecond); cancel() }()
		for _, err := range l.all(ctx, 10) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("ended with %v", err)
			}
		}
		for _, err := range l.all(l.Context(), 10) {
			if err != nil {
				t.Error(err)
			}
		}
		if n := l.pool.turns.dialing; n != 0 || len(l.pool.turns.waiting) != 0 {
			t.Errorf("%d turns are taken, %d wait", n, len(l.pool.turns.waiting))
		}
	})
}

// Those who wait for a destination that is given up hear of it at once.
func TestTurnsAreCut(t *testing.T) {
	inTurns(t, func(l *lab, _ *openings) {
		began := time.Now()
		time.AfterFunc(100*time.Millisecond, l.pool.CutSilent)
		for _, err := range l.all(l.Context(), 10) {
			isErr[*NotSentError](t, err)
		}
		if took := time.Since(began); took > 150*time.Millisecond {
			t.Errorf("cut: they waited %s", took)
		}
		began = time.Now()
		time.AfterFunc(100*time.Millisecond, func() { _ = l.pool.CloseAll() })
		for _, err := range l.all(l.Context(), 10) {
			isErr[*NotSentError](t, err)
		}
		if took := time.Since(began); took > 150*time.Millisecond {
			t.Errorf("closed: they waited %s", took)
		}
	})
}

// Nobody waits longer than a connection may take to be opened.
func TestTurnsEnd(t *testing.T) {
	cfg := Config{MaxDials: 1, DialTimeout: 2 * time.Second, Dial: func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	inLab(t, cfg, numbered, func(l *lab) {
		began := time.Now()
		for _, err := range l.all(l.Context(), 5) {
			if e := isErr[*TimeoutError](t, err); e != nil && e.Phase != PhaseDial {
				t.Errorf("%v", err)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("they waited %s", took)
		}
	})
}
