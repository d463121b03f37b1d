package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// errProbeTimeout is what a probe's context ends with, so that the status says
// more than "context deadline exceeded".
var errProbeTimeout = errors.New("no answer in time")

// probe asks once for the health, and for the load report if it is time.
func (e *Engine) probe(ctx context.Context) {
	e.mu.Lock()
	timing := e.timing
	e.mu.Unlock()

	start := e.now()
	err := e.probeHealth(ctx, timing.Timeout)
	took := e.now().Sub(start)
	if ctx.Err() != nil {
		return // told to stop: the failure is ours
	}
	e.mu.Lock()
	e.took = took
	e.mu.Unlock()
	e.metrics.probe(took, err == nil)
	if err != nil {
		e.observe(sawBadProbe, err.Error())
		return
	}
	e.observe(sawGoodProbe, "")
	e.refreshReport(ctx, timing.Timeout)
}

func (e *Engine) probeHealth(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w (%v)", errProbeTimeout, timeout))
	defer cancel()
	if e.cfg.Health.Kind == ProbeTCP {
		conn, err := e.connect(ctx)
		if err != nil {
			return ended(ctx, err)
		}
		return conn.Close()
	}
	ans, err := e.exchange(ctx, call{method: http.MethodGet, target: e.cfg.Health.Path})
	if err != nil {
		return ended(ctx, err)
	}
	return e.cfg.Health.judge(ans.status)
}

// judge says whether a status is that of a healthy engine.
func (p Probe) judge(status int) error {
	switch {
	case p.Status != 0 && status != p.Status:
		return fmt.Errorf("GET %s answered %d, want %d", p.Path, status, p.Status)
	case p.Status == 0 && status >= 500:
		return fmt.Errorf("GET %s answered %d", p.Path, status)
	}
	return nil
}
