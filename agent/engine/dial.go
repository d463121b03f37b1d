package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

const (
	// dialTimeout bounds Dial where the caller's context does not. A busy engine
	// may take seconds to accept.
	dialTimeout = 10 * time.Second

	// refusalPause lies between the two refusals that are death.
	refusalPause = 10 * time.Millisecond
)

// Dial connects to the engine, for https with TLS, whose certificate must name
// the URL's host. The caller owns the connection. What happens is evidence: a
// refused connection is tried once more after 10 ms, and if that is refused too
// the engine is Dead when Dial returns; an accepted one makes a dead engine
// Unhealthy and has it probed at once. It takes 10 s at most.
func (e *Engine) Dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	before, _ := e.Health()
	conn, err := e.connect(ctx)
	if after, _ := e.Health(); before == peer.Dead && after != peer.Dead {
		poke(e.kick) // not from a probe's own connection: good probes shall lie apart
	}
	return conn, err
}

// connect is Dial within the caller's deadline.
func (e *Engine) connect(ctx context.Context) (net.Conn, error) {
	conn, err := e.dialOnce(ctx)
	// A dead engine needs no second refusal: it saves the pause per request.
	if health, _ := e.Health(); refused(err) && health != peer.Dead {
		select {
		case <-time.After(refusalPause):
			conn, err = e.dialOnce(ctx)
		case <-ctx.Done():
		}
	}
	if err != nil {
		return nil, fmt.Errorf("dial engine %s: %w", e.cfg.Name, err)
	}
	if e.tls == nil {
		return conn, nil
	}
	tc := tls.Client(conn, e.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // not tc: it would try to say good-bye
		return nil, fmt.Errorf("tls handshake with engine %s: %w", e.cfg.Name, err)
	}
	return tc, nil
}

func (e *Engine) dialOnce(ctx context.Context) (net.Conn, error) {
	conn, err := e.dial(ctx, "tcp", e.cfg.URL.Host)
	switch {
	case err == nil:
		e.metrics.dial("ok")
		e.observe(sawConnection, "")
	case refused(err):
		e.metrics.dial("refused")
		e.observe(sawRefusal, "connection refused")
	default:
		e.metrics.dial("error")
	}
	return conn, err
}
