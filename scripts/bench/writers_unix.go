//go:build unix

package bench

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// WriteTo is an admin API that Writers write to.
type WriteTo struct {
	API   string // host:port, or the path of a socket
	Token string // may be empty on a socket
}

// Writers write settings all the time, each one after the other, and keep every try. A try
// that fails is followed at once by one at the next agent: what they see of an outage is as
// fine as the time for a try, TryTimeout unless Patience says else. All methods are safe for concurrent use, but Start and Stop are one
// caller's, in turn.
type Writers struct {
	to     []WriteTo
	seq    atomic.Int64
	skip   atomic.Int64 // the position that is avoided; -1: none
	paused atomic.Bool
	limit  atomic.Int64  // nanoseconds for one try
	stop   chan struct{} // closed: the writers end; nil: there are none
	wg     sync.WaitGroup

	mu      sync.Mutex
	writes  []Write
	unknown int
}

// TryTimeout bounds one try of a writer; scripts/etcdbench has the same.
const TryTimeout = 100 * time.Millisecond

// LateWrites is how long a try that its writer gave up may still take effect.
const LateWrites = 2 * time.Second

// NewWriters makes writers that use all of to. Nothing happens yet.
func NewWriters(to []WriteTo) *Writers {
	w := &Writers{to: to}
	w.skip.Store(-1)
	w.Patience(TryTimeout)
	return w
}

// Avoid lets the writers leave out one position; -1: none.
func (w *Writers) Avoid(i int) { w.skip.Store(int64(i)) }

// Patience bounds tries that begin from now on.
func (w *Writers) Patience(d time.Duration) { w.limit.Store(int64(d)) }

// Pause lets the writers rest, or go on.
func (w *Writers) Pause(on bool) { w.paused.Store(on) }

// Start begins to write with so many workers.
func (w *Writers) Start(workers int) {
	w.stop = make(chan struct{})
	w.paused.Store(false)
	for i := range workers {
		w.wg.Go(func() { w.loop(i, w.stop) })
	}
}

// Stop ends the writers and waits for them. It is no error if there are none.
func (w *Writers) Stop() {
	if w.stop != nil {
		close(w.stop)
		w.wg.Wait()
		w.stop = nil
	}
}

// loop writes until it is stopped.
func (w *Writers) loop(i int, stop <-chan struct{}) {
	conns := make([]*Conn, len(w.to))
	for i, to := range w.to {
		conns[i] = NewConn(to.API, TryTimeout)
		defer conns[i].Close()
	}
	at := i % len(conns)
	for {
		wait := time.Duration(0)
		switch {
		case w.paused.Load():
			wait = 5 * time.Millisecond
		case int64(at) == w.skip.Load():
			at = (at + 1) % len(conns)
		case !w.try(conns[at], w.to[at]):
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

func (w *Writers) try(c *Conn, to WriteTo) bool {
	seq := w.seq.Add(1)
	write := Write{Key: int(seq) % Keys, Seq: seq}
	host := "localhost" // on the socket
	if to.API[0] != '/' {
		host = to.API
	}
	c.SetTimeout(time.Duration(w.limit.Load()))
	request := Request("PUT", "/v1/settings/"+Setting(write.Key), host, to.Token, `{"value":"`+Value(write.Key, seq)+`"}`)
	write.Began = time.Now().UnixNano()
	a, err := c.Do(request)
	ended := time.Now().UnixNano()
	if err == nil {
		write.Version, err = CheckSetting(a, write.Key)
	}
	if err == nil {
		write.Ended = ended
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, write)
	if err != nil {
		w.unknown++
	}
	return err == nil
}

// Recovered waits until a write that began after the time is acknowledged, at most so long,
// and a second more.
func (w *Writers) Recovered(ctx context.Context, after time.Time, within time.Duration) (Span, error) {
	from := after.UnixNano()
	if err := Until(ctx, within, "a write is acknowledged again", func(context.Context) bool { return w.began(from) }); err != nil {
		return Span{}, err
	}
	if err := Sleep(ctx, time.Second); err != nil {
		return Span{}, err
	}
	return w.Since(after), nil
}

// began reports whether a write that began after the time has been acknowledged.
func (w *Writers) began(after int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.writes) - 1; i >= 0 && (w.writes[i].Ended == 0 || w.writes[i].Ended > after); i-- {
		if w.writes[i].Ended != 0 && w.writes[i].Began > after {
			return true
		}
	}
	return false
}

// Since is what was acknowledged from then until now.
func (w *Writers) Since(then time.Time) Span {
	from := then.UnixNano()
	s := Span{From: from, To: time.Now().UnixNano()}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.writes) - 1; i >= 0 && (w.writes[i].Ended == 0 || w.writes[i].Ended > from); i-- {
		o := w.writes[i]
		if o.Ended == 0 {
			continue
		}
		s.Acks = append(s.Acks, o.Ended)
		if o.Began > from && (s.Fresh == 0 || o.Ended < s.Fresh) {
			s.Fresh = o.Ended
		}
	}
	return s
}

// Writes are all tries so far, and how many of them have an unknown outcome.
func (w *Writers) Writes() (all []Write, unknown int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes[:len(w.writes):len(w.writes)], w.unknown
}
