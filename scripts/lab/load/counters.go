package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/engine/builtin"
	"github.com/ushercluster/usher/scripts/lab/history"
)

// tally remembers what engines counted, also those that have died since. An engine's URL
// names its life: it listens on another port after each start.
type tally struct {
	quit context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu   sync.Mutex
	most map[counted]int64
}

type counted struct {
	node, life string
	attempt    builtin.Attempt
}

func newTally() *tally {
	t := &tally{most: map[counted]int64{}}
	t.quit, t.end = context.WithCancel(context.Background())
	return t
}

// watch looks at the engine of a node until the tally stops.
func (t *tally) watch(l *Load, n Node) {
	t.wg.Go(func() {
		url := ""
		client := &http.Client{Timeout: l.pace.Patience, Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if l.cfg.DialEngine != nil {
					return l.cfg.DialEngine(ctx, n.Name, address)
				}
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		}}
		defer client.CloseIdleConnections()
		for {
			select {
			case <-t.quit.Done():
				t.look(context.WithoutCancel(t.quit), l, n, client, url)
				return
			case <-time.After(l.pace.Count):
			}
			url = t.look(t.quit, l, n, client, url)
		}
	})
}

// look reads the counters once. It returns the engine's URL, "" if that has to be asked for
// again.
func (t *tally) look(ctx context.Context, l *Load, n Node, client *http.Client, url string) string {
	ctx, cancel := context.WithTimeout(ctx, l.pace.Patience)
	defer cancel()
	if url == "" {
		if url = l.engineOf(ctx, n); url == "" {
			return ""
		}
	}
	c, err := counters(ctx, client, url)
	if err != nil {
		return "" // it is down now, or somewhere else
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range c.Attempts {
		a.Attempt.Occurrence = a.Attempt.Occurrence.UTC()
		k := counted{n.Name, url, a.Attempt}
		t.most[k] = max(t.most[k], a.Started)
	}
	return url
}

func (l *Load) engineOf(ctx context.Context, n Node) string {
	c, err := l.client(n)
	if err != nil {
		return ""
	}
	defer c.Close()
	row, err := c.Node(ctx, n.Name, admin.Stale())
	if err != nil || len(row.Engines) == 0 {
		return ""
	}
	return row.Engines[0].URL
}

const maxCounters = 4 << 20

func counters(ctx context.Context, client *http.Client, url string) (builtin.Counters, error) {
	var c builtin.Counters
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/counters", nil)
	if err != nil {
		return c, fmt.Errorf("ask for counters: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return c, fmt.Errorf("ask for counters: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c, errors.New("the engine does not show its counters: " + resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxCounters)).Decode(&c); err != nil {
		return c, fmt.Errorf("read counters: %w", err)
	}
	return c, nil
}

// stop looks a last time, and ends.
func (t *tally) stop() {
	t.end()
	t.wg.Wait()
}

// Counts is what the engines counted, of all their lives. It is complete after Stop.
func (l *Load) Counts() []history.Count {
	l.counts.mu.Lock()
	defer l.counts.mu.Unlock()
	var out []history.Count
	for k, n := range l.counts.most {
		out = append(out, history.Count{
			Node: k.node, Life: k.life, Task: k.attempt.Task, Due: k.attempt.Occurrence, Attempt: k.attempt.Attempt, Started: n,
		})
	}
	return out
}
