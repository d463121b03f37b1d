package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Watch calls list again and again, each time as soon as the state is newer than
// the answer before, and hands the answers to each; the first one at once. It
// returns the first error of either, or ctx's. A newer state need not mean a
// different answer.
func Watch[T interface{ AtRevision() uint64 }](
	ctx context.Context, list func(context.Context, ...Option) (T, error), each func(T) error, opts ...Option,
) error {
	v, err := list(ctx, opts...)
	for {
		if err != nil {
			return err
		}
		if err := each(v); err != nil {
			return err
		}
		last := v.AtRevision()
		for ok := true; ok; ok = err == nil && v.AtRevision() <= last {
			v, err = list(ctx, append(opts[:len(opts):len(opts)], WaitIndex(last, watchWait))...)
		}
	}
}

const (
	watchWait = 55 * time.Second
	maxEvent  = 64 << 10
)

// Events streams the state's changes to each until ctx ends, an error of each, or
// the stream breaks; the error says which. after is the revision of the last event
// seen, zero for "from now on": whoever calls again with it misses nothing.
func (c *Client) Events(ctx context.Context, after uint64, each func(Event) error) error {
	q := newQuery(nil)
	if after > 0 {
		q.header.Set("Last-Event-ID", strconv.FormatUint(after, 10))
	}
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", nil, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return c.refusal(resp)
	}
	err = readEvents(resp.Body, each)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// readEvents reads server-sent events; comments and other fields are skipped. Our
// events have one data line each.
func readEvents(r io.Reader, each func(Event) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, maxEvent)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data:")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	return fmt.Errorf("%w: the stream of events ended", ErrUnreachable)
}
