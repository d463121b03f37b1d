package agent

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// noticeLife is how long a notice stands that is not given again.
const noticeLife = time.Minute

// notices are sentences for whoever looks at this node's status: what it has noticed and
// nobody else can. The zero value is ready; it is safe for concurrent use.
type notices struct {
	mu sync.Mutex
	m  map[string]notice // by what they are about
}

type notice struct {
	text         string
	since, until time.Time
}

// set gives a notice, or gives it again, for a while.
func (n *notices) set(about, text string, now time.Time) {
	n.put(about, text, now, now.Add(noticeLife))
}

// keep gives a notice that stands until it is taken back.
func (n *notices) keep(about, text string, now time.Time) { n.put(about, text, now, time.Time{}) }

func (n *notices) put(about, text string, now, until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.m == nil {
		n.m = map[string]notice{}
	}
	since := now
	if old, ok := n.m[about]; ok && old.stands(now) {
		since = old.since
	}
	n.m[about] = notice{text, since, until}
}

// take takes a notice back.
func (n *notices) take(about string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.m, about)
}

// lasting reports for how long a notice has been given again and again.
func (n *notices) lasting(about string, now time.Time) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.m[about]; ok && old.stands(now) {
		return now.Sub(old.since)
	}
	return 0
}

func (n notice) stands(now time.Time) bool { return n.until.IsZero() || now.Before(n.until) }

// list are the texts of those that stand, in a fixed order.
func (n *notices) list(now time.Time) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := []string{}
	for _, about := range slices.Sorted(maps.Keys(n.m)) {
		switch m := n.m[about]; {
		case !m.stands(now):
			delete(n.m, about)
		case m.text != "":
			out = append(out, m.text)
		}
	}
	return out
}
