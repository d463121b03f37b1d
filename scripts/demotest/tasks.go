//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/engine/builtin"
)

const taskName, taskEvery = "every-5s", 5 * time.Second

func counters(ctx context.Context, n *node) (builtin.Counters, error) {
	var c builtin.Counters
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.Engine+"/counters", nil)
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	return c, json.NewDecoder(resp.Body).Decode(&c)
}

// poller remembers what engines counted, also of those that are killed later.
type poller struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	starts map[builtin.Attempt]int64 // the most starts that one engine's life counted
}

func startPoller(ctx context.Context, d *demo) *poller {
	ctx, cancel := context.WithCancel(ctx)
	p := &poller{cancel: cancel, starts: map[builtin.Attempt]int64{}}
	p.wg.Go(func() {
		for ctx.Err() == nil {
			for _, n := range d.Nodes {
				p.look(ctx, n)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return p
}

func (p *poller) look(ctx context.Context, n *node) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	engine, err := n.client.Node(ctx, n.Name, admin.Stale())
	if err != nil || len(engine.Engines) == 0 {
		return // it is dead now
	}
	n.Engine = engine.Engines[0].URL // a new port at each start
	c, err := counters(ctx, n)
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range c.Attempts {
		if a.Task == taskName {
			a.Attempt.Occurrence = a.Attempt.Occurrence.UTC()
			p.starts[a.Attempt] = max(p.starts[a.Attempt], a.Started)
		}
	}
}

func (p *poller) stop() { p.cancel(); p.wg.Wait() }

func (s *stage) scheduleTask(ctx context.Context) error {
	_, err := s.d.Nodes[0].client.PutTask(ctx, taskName, admin.TaskSpec{
		Document: "inventory", Every: admin.Duration(taskEvery), Attempts: 3,
		Timeout: admin.Duration(time.Minute), CatchUp: admin.Duration(10 * time.Minute),
	})
	s.poll = startPoller(ctx, s.d)
	return err
}

// checkTask pauses the task and reads its history.
func (s *stage) checkTask(ctx context.Context) error {
	client := s.d.Nodes[0].client
	if _, err := client.PauseTask(ctx, taskName, "the test ends"); err != nil {
		return err
	}
	var all []admin.Occurrence
	_, err := until(ctx, 2*time.Minute, "end of every occurrence", func(ctx context.Context) bool {
		list, err := client.TaskOccurrences(ctx, taskName, admin.Page(1000, ""))
		all = list.Items
		for _, o := range all {
			if o.Ended.IsZero() {
				return false
			}
		}
		return err == nil && len(all) > 0
	})
	if err != nil {
		return err
	}
	time.Sleep(300 * time.Millisecond) // the poller's last look
	s.poll.stop()
	return s.judge(all)
}

func (s *stage) judge(all []admin.Occurrence) error {
	var late time.Duration
	succeeded := 0
	due := map[time.Time]int{}
	started := map[builtin.Attempt]bool{}
	for _, o := range all {
		due[o.Due]++
		if o.State == "succeeded" {
			succeeded++
			late = max(late, o.Started.Sub(o.Due))
		}
		attempt := builtin.Attempt{Document: "inventory", Task: taskName, Occurrence: o.Due.UTC()}
		for _, a := range o.History {
			attempt.Attempt = a.Number
			started[attempt] = !a.Started.IsZero()
		}
		attempt.Attempt = o.Attempt
		started[attempt] = !o.Started.IsZero()
	}
	first, last := all[len(all)-1].Due, all[0].Due
	want := int(last.Sub(first)/taskEvery) + 1
	fmt.Printf("   %d due times, %d records, %d succeeded (%.1f %%), the latest began %s late\n",
		want, len(all), succeeded, 100*float64(succeeded)/float64(len(all)), late.Round(time.Millisecond))
	if len(due) != want || len(all) != want {
		return fmt.Errorf("%d due times have %d records", want, len(all))
	}
	if succeeded*100 < len(all)*95 {
		return fmt.Errorf("only %d of %d succeeded", succeeded, len(all))
	}
	return s.compare(started, all)
}

// compare holds the engines' counters against the history.
func (s *stage) compare(started map[builtin.Attempt]bool, all []admin.Occurrence) error {
	n := 0
	for a, times := range s.poll.starts {
		if !started[a] {
			return fmt.Errorf("an engine ran attempt %d of %s, which the history does not know as started", a.Attempt, a.Occurrence)
		}
		if times != 1 {
			return fmt.Errorf("an engine ran attempt %d of %s %d times", a.Attempt, a.Occurrence, times)
		}
		n++
	}
	for _, o := range all {
		a := builtin.Attempt{Document: "inventory", Task: taskName, Occurrence: o.Due.UTC(), Attempt: o.Attempt}
		if o.State == "succeeded" && s.poll.starts[a] != 1 {
			return fmt.Errorf("attempt %d of %s succeeded, and no engine counted it", a.Attempt, a.Occurrence)
		}
	}
	fmt.Printf("   %d attempts counted by the engines, %d started by the history\n", n, len(started))
	return nil
}
