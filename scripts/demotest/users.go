//go:build unix

package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// user is one browser.
type user struct {
	n      int
	client *http.Client
	node   string // whose engine answers
	socket *websocket.Conn
}

// stage is the demo with its audience.
type stage struct {
	d     *demo
	o     options
	users []*user
	poll  *poller
}

func newStage(d *demo, o options) *stage { return &stage{d: d, o: o} }

func (s *stage) close() {
	for _, u := range s.users {
		if u.socket != nil {
			_ = u.socket.CloseNow()
		}
		u.client.CloseIdleConnections()
	}
	if s.poll != nil {
		s.poll.stop()
	}
}

// ask makes one request through a door and returns the node that answered.
func (u *user) ask(ctx context.Context, door string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, door+"/doc/sales/api/query?limit=1", nil)
	if err != nil {
		return "", err
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d", resp.StatusCode)
	}
	return resp.Header.Get("X-Usher-Node"), nil
}

// arrival is the time between two users' first requests.
const arrival = 10 * time.Millisecond

// walk lets every user make their requests, each through another door. A hundred
// users arrive a second.
func (s *stage) walk(ctx context.Context) error {
	for i := range s.o.users {
		jar, err := cookiejar.New(nil)
		if err != nil {
			return err
		}
		s.users = append(s.users, &user{n: i, client: &http.Client{
			Jar: jar, Transport: &http.Transport{MaxIdleConnsPerHost: 1},
		}})
	}
	var moves, failed atomic.Int64
	var wg sync.WaitGroup
	for _, u := range s.users {
		time.Sleep(arrival)
		wg.Go(func() {
			for i := range s.o.requests {
				node, err := u.ask(ctx, s.d.Nodes[(u.n+i)%len(s.d.Nodes)].Door)
				switch {
				case err != nil:
					failed.Add(1)
				case u.node == "":
					u.node = node
				case u.node != node:
					moves.Add(1)
				}
			}
		})
	}
	wg.Wait()
	total := int64(s.o.users * s.o.requests)
	fmt.Printf("   %d requests, %d failed, %d moves\n", total, failed.Load(), moves.Load())
	if failed.Load() != 0 || moves.Load() != 0 {
		return fmt.Errorf("%d of %d requests failed, %d moves", failed.Load(), total, moves.Load())
	}
	if err := s.balanced(ctx); err != nil {
		return err
	}
	return s.openSockets(ctx)
}

// balanced compares the engines' own counters.
func (s *stage) balanced(ctx context.Context) error {
	low, high := int64(math.MaxInt64), int64(0)
	for _, n := range s.d.Nodes {
		c, err := counters(ctx, n)
		if err != nil {
			return err
		}
		fmt.Printf("   engine of %s: %d requests\n", n.Name, c.Requests)
		low, high = min(low, c.Requests), max(high, c.Requests)
	}
	mean := float64(s.o.users*s.o.requests) / float64(len(s.d.Nodes))
	if float64(high) > 1.15*mean || float64(low) < 0.85*mean {
		return fmt.Errorf("engines answered %d to %d requests: not within 15 %% of %.0f", low, high, mean)
	}
	return nil
}

// openSockets gives every fifth user a WebSocket with a selection.
func (s *stage) openSockets(ctx context.Context) error {
	for i, u := range s.users {
		if i%5 != 0 {
			continue
		}
		door := s.d.Nodes[i%len(s.d.Nodes)].Door
		c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(door, "http")+"/doc/sales/ws", &websocket.DialOptions{HTTPClient: u.client})
		if err != nil {
			return fmt.Errorf("WebSocket of user %d: %w", i, err)
		}
		u.socket = c
		if err := u.talk(ctx); err != nil {
			return fmt.Errorf("WebSocket of user %d: %w", i, err)
		}
	}
	return nil
}

// talk makes an empty selection and waits for the engine's answer.
func (u *user) talk(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := u.socket.Write(ctx, websocket.MessageText, []byte(`{"select":{}}`)); err != nil {
		return err
	}
	_, _, err := u.socket.Read(ctx)
	return err
}

// after checks, right after dead was killed, that every user's next request is
// answered within two seconds through a living door: the users of others by the
// same node as before, over the same WebSocket.
func (s *stage) after(ctx context.Context, dead ...*node) error {
	gone := map[string]bool{}
	for _, n := range dead {
		gone[n.Name] = true
	}
	var alive []*node
	for _, n := range s.d.Nodes {
		if !gone[n.Name] {
			alive = append(alive, n)
		}
	}
	var mu sync.Mutex
	var bad []string
	complain := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		bad = append(bad, fmt.Sprintf(format, args...))
	}
	var slowest, moved atomic.Int64
	var wg sync.WaitGroup
	for _, u := range s.users {
		wg.Go(func() {
			began := time.Now()
			node, err := u.ask(ctx, alive[u.n%len(alive)].Door)
			took := time.Since(began)
			for v := slowest.Load(); int64(took) > v && !slowest.CompareAndSwap(v, int64(took)); v = slowest.Load() {
			}
			switch {
			case err != nil:
				complain("user %d of %s: %v after %s", u.n, u.node, err, took.Round(time.Millisecond))
			case !gone[u.node] && node != u.node:
				complain("user %d was moved from the living %s to %s", u.n, u.node, node)
			case gone[u.node]:
				moved.Add(1)
			}
			s.checkSocket(ctx, u, gone, complain)
			if err == nil {
				u.node = node
			}
		})
	}
	wg.Wait()
	fmt.Printf("   %d users moved, the slowest next request took %s\n", moved.Load(), time.Duration(slowest.Load()).Round(time.Millisecond))
	if len(bad) > 0 {
		return fmt.Errorf("%d complaints, the first: %s", len(bad), bad[0])
	}
	return nil
}

// checkSocket: a WebSocket lives exactly as long as its door and its engine.
func (s *stage) checkSocket(ctx context.Context, u *user, gone map[string]bool, complain func(string, ...any)) {
	if u.socket == nil {
		return
	}
	door := s.d.Nodes[u.n%len(s.d.Nodes)]
	err := u.talk(ctx)
	if cut := gone[u.node] || gone[door.Name]; cut != (err != nil) {
		complain("WebSocket of user %d (door %s, engine of %s): %v", u.n, door.Name, u.node, err)
	}
	if err != nil {
		_ = u.socket.CloseNow()
		u.socket = nil
	}
}
