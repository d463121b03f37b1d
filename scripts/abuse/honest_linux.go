package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// honestTask is what the process of honest users is told.
type honestTask struct {
	Address string
	Cert    string // file; "": without TLS
	Users   int
	Rate    float64
}

// patience is after how long a request is given up.
const patience = 10 * time.Second

// beHonest has users ask until in ends. For each line of it, it prints what became of the
// requests that were due since the one before, as JSON.
func beHonest(text string, in io.Reader, out io.Writer) error {
	var t honestTask
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return fmt.Errorf("read the task: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var users []*user
	for i := range t.Users {
		u, err := newUser(ctx, t, i)
		if err != nil {
			return fmt.Errorf("user %d: %w", i, err)
		}
		users = append(users, u)
	}
	began := time.Now()
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for i, u := range users {
		running.Go(func() { u.run(ctx, began, func(n int) time.Duration { return due(n, i, t.Users, t.Rate) }) })
	}
	lines, from := bufio.NewScanner(in), time.Duration(0)
	for lines.Scan() {
		to := time.Since(began)
		l, err := collect(ctx, users, from, to)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(out).Encode(l); err != nil {
			return fmt.Errorf("print the latencies: %w", err)
		}
		from = to
	}
	return lines.Err()
}

// collect waits until all that was due is done.
func collect(ctx context.Context, users []*user, from, to time.Duration) (latencies, error) {
	err := bench.Until(ctx, 6*patience, "the requests that were due are done", func(context.Context) bool {
		for _, u := range users {
			if time.Duration(u.at.Load()) < to {
				return false
			}
		}
		return true
	})
	if err != nil {
		return latencies{}, err
	}
	var all []sample
	for _, u := range users {
		all = append(all, u.samplesBefore(to)...)
	}
	return within(all, from, to), nil
}

// user is one with a connection and a session.
type user struct {
	client *http.Client
	url    string
	at     atomic.Int64 // when the request is due that it makes or waits for, since the beginning

	mu      sync.Mutex
	samples []sample
}

// newUser opens the session.
func newUser(ctx context.Context, t honestTask, i int) (*user, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	way := &http.Transport{MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, Protocols: new(http.Protocols)}
	way.Protocols.SetHTTP1(t.Cert == "" || i%2 == 0) // half of them each, where there is TLS
	way.Protocols.SetHTTP2(t.Cert != "" && i%2 == 1)
	scheme := "http"
	if t.Cert != "" {
		scheme = "https"
		if way.TLSClientConfig, err = trusting(t.Cert); err != nil {
			return nil, err
		}
		way.TLSClientConfig.MinVersion = tls.VersionTLS13
	}
	u := &user{client: &http.Client{Jar: jar, Transport: way, Timeout: patience}, url: scheme + "://" + t.Address + "/doc/sales/api/query?limit=5"}
	// An agent that has just begun does not know yet that its engine is well.
	if bench.Until(ctx, patience, "the door answers", func(ctx context.Context) bool { _, err = u.ask(ctx); return err == nil }) != nil {
		return nil, err
	}
	return u, nil
}

func (u *user) run(ctx context.Context, began time.Time, due func(n int) time.Duration) {
	defer u.client.CloseIdleConnections()
	for n := 0; ; n++ {
		at := due(n)
		u.at.Store(int64(at))
		if wait := time.Until(began.Add(at)); wait > 0 && bench.Sleep(ctx, wait) != nil {
			return
		}
		s := sample{due: at}
		lost, err := u.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.fail = err.Error()
		case lost:
			s.fail = "the session was lost"
		}
		s.took = time.Since(began) - at
		u.mu.Lock()
		u.samples = append(u.samples, s)
		u.mu.Unlock()
	}
}

// ask makes a request. opened says that a session was opened for it.
func (u *user) ask(ctx context.Context) (opened bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return false, err
	}
	resp, err := u.client.Do(r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("answered %s", resp.Status)
	}
	for _, c := range resp.Cookies() {
		opened = opened || strings.HasSuffix(c.Name, "usher")
	}
	return opened, nil
}

// samplesBefore takes those that were due before to.
func (u *user) samplesBefore(to time.Duration) []sample {
	u.mu.Lock()
	defer u.mu.Unlock()
	n := 0
	for n < len(u.samples) && u.samples[n].due < to {
		n++
	}
	out := u.samples[:n:n]
	u.samples = u.samples[n:]
	return out
}
