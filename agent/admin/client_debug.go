package admin

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Pages of Debug.
const (
	DebugConfig     = "config"
	DebugMachine    = "machine"
	DebugLogs       = "logs"
	DebugGoroutines = "goroutines"
	DebugHeap       = "heap"
)

// maxDebug bounds a page of Debug: two thousand lines of log take up to 8 MiB.
const maxDebug = 64 << 20

// Debug is one of the agent's pages about itself, for an administrator on the agent's
// own machine. Secrets are taken out.
func (c *Client) Debug(ctx context.Context, page string) ([]byte, error) {
	return c.raw(ctx, "/v1/debug/"+segment(page), nil)
}

// CPUProfile measures the agent for so long, rounded to seconds (1 to 60), and returns
// the profile in pprof's format. Give ctx a few seconds more.
func (c *Client) CPUProfile(ctx context.Context, length time.Duration) ([]byte, error) {
	return c.raw(ctx, "/v1/debug/cpu", url.Values{"seconds": {strconv.Itoa(int(length.Round(time.Second) / time.Second))}})
}

// Metrics are the agent's own in Prometheus' text format.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) { return c.raw(ctx, "/metrics", nil) }

// raw reads an answer that is not JSON.
func (c *Client) raw(ctx context.Context, path string, values url.Values) ([]byte, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, CallTimeout)
		defer cancel()
	}
	q := newQuery(nil)
	q.values = values
	resp, err := c.send(ctx, http.MethodGet, path, nil, q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, c.refusal(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDebug+1))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if len(b) > maxDebug {
		return nil, fmt.Errorf("%s: the answer is over %d bytes", path, maxDebug)
	}
	return b, nil
}
