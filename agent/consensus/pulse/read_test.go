package pulse

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReadIndex(t *testing.T) {
	var errNoLeader = errors.New("not the leader")
	cases := []struct {
		name string
		read func(context.Context) (uint64, error)
		want uint64
		err  error
		took time.Duration
	}{
		{"confirmed", func(context.Context) (uint64, error) { return 77, nil }, 77, nil, 2 * way},
		{"confirmed at zero", func(context.Context) (uint64, error) { return 0, nil }, 0, nil, 2 * way},
		{"confirmed late", func(context.Context) (uint64, error) { time.Sleep(time.Second); return 78, nil }, 78, nil, time.Second + 2*way},
		{"refused", func(context.Context) (uint64, error) { return 77, errNoLeader }, 0, ErrRefused, 2 * way},
		{"cannot be confirmed", nil, 0, ErrRefused, 2 * way},
		{"takes too long", func(ctx context.Context) (uint64, error) { <-ctx.Done(); return 77, ctx.Err() }, 0, ErrRefused, readingFor + 2*way},
		{"takes longer than we wait", func(ctx context.Context) (uint64, error) { time.Sleep(9 * time.Second); return 77, ctx.Err() }, 0, context.DeadlineExceeded, 8 * time.Second},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			run(t, 2, func(l *lab) {
				a, b := l.servers[0], l.servers[1]
				l.net.SetDelay(way)
				b.cfg.Read = tc.read
				l.startAll()
				time.Sleep(time.Second)
				began := time.Now()
				got, err := a.hub.ReadIndex(l.soon(8*time.Second), b.id)
				if got != tc.want || !errors.Is(err, tc.err) {
					l.Errorf("%d, %v; want %d, %v", got, err, tc.want, tc.err)
				}
				l.took(began, tc.took)
			})
		})
	}
}

func TestReadIndexOfAServerThatIsDown(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.ln.Close()
		a.start()
		began := time.Now()
		if _, err := a.hub.ReadIndex(l.soon(time.Second), b.id); !errors.Is(err, ErrDown) {
			l.Errorf("error %v, want ErrDown", err)
		}
		if _, err := a.hub.Ask(l.soon(time.Second), b.id); !errors.Is(err, ErrDown) {
			l.Errorf("error %v, want ErrDown", err)
		}
		l.took(began, 0)
	})
}

func TestReadIndexTakesNoOtherAnswer(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, others := l.played()
		type result struct {
			rev uint64
			err error
		}
		done := make(chan result, 1)
		go func() {
			rev, err := a.hub.ReadIndex(l.soon(time.Second), nodeID('b'))
			done <- result{rev, err}
		}()
		q := others[0].next(kindRead)
		others[0].send(answer(q), frame{kind: kindRevision, nonce: q.nonce + 1, argIndex: 1}, frame{kind: kindRevision, nonce: q.nonce, argIndex: 2})
		if got := <-done; got != (result{2, nil}) {
			l.Errorf("got %+v", got)
		}
		closeAll(others)
	})
}

// A forwarded read must not wait for the deadline when the leader dies: the next
// leader is there within 30 ms.
func TestReadIndexOfALeaderThatDies(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.cfg.Read = func(ctx context.Context) (uint64, error) { <-ctx.Done(); return 0, ctx.Err() }
		l.startAll()
		done := make(chan error, 1)
		go func() {
			_, err := a.hub.ReadIndex(l.soon(4*time.Second), b.id)
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		l.net.Reset(b.host)
		if err := <-done; !errors.Is(err, ErrDown) {
			l.Errorf("error %v, want ErrDown", err)
		}
		l.took(began, 0)
	})
}

func TestReadIndexTooManyAtOnce(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		release := make(chan struct{})
		b.cfg.Read = func(context.Context) (uint64, error) { <-release; return 5, nil }
		l.startAll()
		results := make(chan error, maxReads)
		for range maxReads {
			go func() {
				_, err := a.hub.ReadIndex(l.soon(time.Second), b.id)
				results <- err
			}()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := a.hub.ReadIndex(l.soon(time.Second), b.id); !errors.Is(err, ErrRefused) {
			l.Errorf("error %v, want ErrRefused", err)
		}
		l.took(began, 0)
		close(release)
		for range maxReads {
			if err := <-results; err != nil {
				l.Error(err)
			}
		}
		if got, err := a.hub.ReadIndex(l.soon(time.Second), b.id); got != 5 || err != nil {
			l.Errorf("afterwards %d, %v", got, err)
		}
	})
}

// Nobody is there any more to hear what is confirmed for a connection that ended.
func TestReadEndsWithItsConnection(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		b.cfg.Read = func(ctx context.Context) (uint64, error) {
			<-ctx.Done()
			b.note("%v", ctx.Err())
			return 0, ctx.Err()
		}
		b.start()
		w := a.call(b)
		w.send(frame{kind: kindRead, nonce: 1})
		b.heard("up a")
		w.Close()
		synctest.Wait()
		b.mu.Lock()
		defer b.mu.Unlock()
		want := map[string]bool{"down a": true, context.Canceled.Error(): true}
		got := map[string]bool{}
		for _, e := range b.events {
			got[e] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			l.Errorf("-want +got:\n%s", diff)
		}
	})
}

func TestAskTellsWhatIsSoNow(t *testing.T) {
	run(t, 2, func(l *lab) {
		a, b := l.servers[0], l.servers[1]
		l.net.SetDelay(way)
		l.startAll()
		time.Sleep(second / 2)
		want := Facts{Term: 9, LastTerm: 8, LastIndex: 7, Revision: 6}
		b.facts.Store(&want) // no beat before the answer
		began := time.Now()
		got, err := a.hub.Ask(l.soon(time.Second), b.id)
		if err != nil {
			l.Fatal(err)
		}
		l.took(began, 2*way)
		if diff := cmp.Diff(want, got); diff != "" {
			l.Errorf("b said (-want +got):\n%s", diff)
		}
		if beat, _ := a.hub.Latest(b.id); beat.Facts != want {
			l.Errorf("the latest is %+v", beat.Facts)
		}
		l.net.Isolate(b.host)
		if _, err := a.hub.Ask(l.soon(time.Second), b.id); !errors.Is(err, context.DeadlineExceeded) {
			l.Errorf("error %v, want that of the context", err)
		}
	})
}

func TestGoneAndStand(t *testing.T) {
	run(t, 4, func(l *lab) {
		a, b, c, d := l.servers[0], l.servers[1], l.servers[2], l.servers[3]
		d.ln.Close() // the leader
		for _, s := range l.servers[:3] {
			s.start()
		}
		synctest.Wait()
		for _, s := range l.servers[:3] {
			s.mu.Lock()
			s.events = nil
			s.mu.Unlock()
		}
		b.facts.Store(&Facts{Term: 9, LastTerm: 8, LastIndex: 55})
		if told := b.hub.Gone(d.id, 9); told != *b.facts.Load() {
			l.Errorf("it told %+v of itself", told)
		}
		synctest.Wait()
		a.heard("b says that d is gone in 9, at 8/55")
		c.heard("b says that d is gone in 9, at 8/55")
		b.heard()

		if err := c.hub.Stand(a.id, 12, 34); err != nil {
			l.Error(err)
		}
		synctest.Wait()
		a.heard("c says stand in 12 at 34")
		b.heard()
		if err := c.hub.Stand(d.id, 12, 34); !errors.Is(err, ErrDown) {
			l.Errorf("error %v, want ErrDown", err)
		}
	})
}
