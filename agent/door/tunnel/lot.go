package tunnel

import (
	"context"
	"net"
	"sync"
	"time"
)

// writeTimeout is Config.WriteTimeout by default.
const writeTimeout = 30 * time.Second

// Lot runs tunnels. Its methods are safe for concurrent use.
type Lot struct {
	now     func() time.Time
	chunks  sync.Pool // of pumps
	parking parking

	mu      sync.Mutex
	closed  bool
	ctx     context.Context
	cancel  context.CancelCauseFunc
	running sync.WaitGroup
}

// Open returns a lot without tunnels. now may be nil.
func Open(now func() time.Time) *Lot {
	if now == nil {
		now = time.Now
	}
	l := &Lot{now: now}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Start runs a tunnel and returns at once. note, which may be nil, is called with it before
// it runs. The client may be a wrapper that says by a method Direct() net.Conn what it is a
// mere wrapper of: that may be taken out of it, and it is closed at the end all the same, or
// what its method Part() io.Closer has returned, if it has one.
func (l *Lot) Start(cfg Config, note func(*Tunnel)) {
	t := newTunnel(&cfg, l.now)
	if note != nil {
		note(t)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running.Add(1)
	if !l.closed && l.parking.take(l, t, &cfg) {
		return
	}
	go func() {
		p := pair{t: t, client: cfg.Client, server: cfg.Server, chunks: &l.chunks}
		l.ended(t, p.run(l.ctx, &cfg))
	}()
}

// ended is called once for each tunnel.
func (l *Lot) ended(t *Tunnel, err error) {
	defer l.running.Done()
	if t.end != nil {
		t.end(t.Stats(), err)
	}
}

// Close cuts all tunnels, and waits until the End of each has returned.
func (l *Lot) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.cancel(ErrClosed)
	l.parking.close()
	l.running.Wait()
}

// tcpBelow returns the TCP connection that nc is, or wraps as *tls.Conn does, or nil.
func tcpBelow(nc net.Conn) *net.TCPConn {
	for {
		if tc, ok := nc.(*net.TCPConn); ok {
			return tc
		}
		w, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		nc = w.NetConn()
	}
}

func orElse(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

func keepAliveConfig() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}
}
