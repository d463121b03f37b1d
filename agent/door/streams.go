package door

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Requests under way over HTTP/2 beyond the first one of each connection. The first has its
// place with the connection; the others take memory and connections to engines that nobody
// has counted: a client that asks for much and takes nothing of it (CVE-2019-9517) holds a
// hundred of them with one connection.
const (
	mostStreams        = 4096
	mostStreamsPerAddr = mostStreams / 4 // so that one address does not take what others need
)

// How often a client may take back what it has asked for (CVE-2023-44487): so often at once,
// and then so often a second. A browser does when its user goes on to another page; each
// time costs a connection to the engine.
const (
	resetsAtOnce    = 200
	resetsPerSecond = 20
)

// Before that, requests of a connection that has taken back some wait so long for each one
// more, before anything is done for them: those that are taken back meanwhile cost nothing.
const (
	resetsFree   = 20
	waitPerReset = 10 * time.Millisecond
)

// streams is what the door knows of a connection of HTTP/2.
type streams struct {
	addr   netip.Addr   // that the connection was counted by
	work   atomic.Int32 // requests under way
	resets leak
}

// leak is a measure that runs empty by itself. The zero value is empty.
type leak struct {
	mu    sync.Mutex
	level float64
	at    time.Time // when it had this level
}

// pour adds so much and returns what is in it then.
func (l *leak) pour(now time.Time, n, perSecond float64) float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := now.Sub(l.at); d > 0 {
		l.level = max(0, l.level-d.Seconds()*perSecond)
		l.at = now
	}
	l.level += n
	return l.level
}

// streamLimits are those in force: at most a quarter of the descriptors, since each may need
// another connection to an engine, and a quarter of that for one address. With all
// connections that connectionLimits allows, each at work, that is more than there are; then
// engines cannot be dialled for a moment.
func (d *Door) streamLimits() limits {
	l := limits{mostStreams, mostStreamsPerAddr}
	if n := d.cfg.Descriptors; n > 0 {
		l.all = min(l.all, max((n-otherDescriptors)/4, 1))
		l.perAddr = max(l.all/4, 1)
	}
	return l
}

// admitStream counts a request over HTTP/2 in, or says why it is not taken. leave counts it
// out.
func (d *Door) admitStream(c *clientConn) (leave func(), pr *problem) {
	s := &c.streams
	if s.work.Add(1) == 1 {
		return func() { s.work.Add(-1) }, nil
	}
	if err := d.streams.enter(s.addr, d.streamLimits()); err != nil {
		s.work.Add(-1)
		if errors.Is(err, errTooManyHere) {
			return nil, problemCrowd
		}
		return nil, problemStreams
	}
	return func() { s.work.Add(-1); d.streams.leave(s.addr) }, nil
}

// patient lets a request wait if its connection has taken back many. It returns false when
// this one was, too.
func (d *Door) patient(ctx context.Context, c *clientConn) bool {
	wait := resetWait(c.streams.resets.pour(d.cfg.Now(), 0, resetsPerSecond))
	if wait == 0 {
		return true
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// resetWait is how long requests wait after so many that were taken back of late.
func resetWait(resets float64) time.Duration {
	return time.Duration(max(0, resets-resetsFree) * float64(waitPerReset))
}

// tookBack counts a request over HTTP/2 that ended before its answer, and ends a connection
// of which there are too many. Those that the door ended itself, because nobody took the
// answer, are counted, too.
func (d *Door) tookBack(c *clientConn, r *http.Request) {
	if c.streams.resets.pour(d.cfg.Now(), 1, resetsPerSecond) <= resetsAtOnce {
		return
	}
	d.metrics.refuse("too_many_resets")
	d.log.Debug().Str(fieldLogClient, r.RemoteAddr).Msg("connection ended: too many requests were taken back")
	_ = c.Close() // nobody can be told
}
