package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// held is how connections end that the abusers themselves close when all is over.
const held = "held to the end"

// outcome is what became of the abusers.
type outcome struct {
	Acts    int            `json:"acts"`
	Most    int            `json:"most_held"`         // connections or streams at the same time
	Opened  int            `json:"connections"`       // all that were opened, again and again
	Refused int            `json:"refused"`           // could not be opened
	Failure string         `json:"failure,omitempty"` // the first one of those
	Answers map[string]int `json:"answers"`           // to streams and requests: status, RST with its code
	Ends    []end          `json:"ends"`              // of connections
}

// end is how connections ended, and after how long.
type end struct {
	How     string        `json:"how"`
	Times   int           `json:"times"`
	Median  time.Duration `json:"median_ns"`
	Longest time.Duration `json:"longest_ns"`
}

// tally counts while it goes on. The zero value is ready.
type tally struct {
	mu      sync.Mutex
	o       outcome
	holding int
	lives   map[string][]time.Duration
}

func (t *tally) did(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.o.Acts += n
}

// hold counts what is held open, up or down.
func (t *tally) hold(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holding += n
	t.o.Most = max(t.o.Most, t.holding)
}

func (t *tally) answered(how string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.o.Answers == nil {
		t.o.Answers = map[string]int{}
	}
	t.o.Answers[how]++
}

func (t *tally) opened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.o.Opened++
}

func (t *tally) refused(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.o.Refused++; t.o.Failure == "" {
		t.o.Failure = err.Error()
	}
}

func (t *tally) ended(how string, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lives == nil {
		t.lives = map[string][]time.Duration{}
	}
	t.lives[how] = append(t.lives[how], after)
}

// outcome is the sum, the most frequent end first.
func (t *tally) outcome() outcome {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.o
	out.Ends = nil
	for how, lives := range t.lives {
		slices.Sort(lives)
		out.Ends = append(out.Ends, end{how, len(lives), bench.Median(lives), lives[len(lives)-1]})
	}
	slices.SortFunc(out.Ends, func(a, b end) int {
		if a.Times != b.Times {
			return b.Times - a.Times
		}
		return strings.Compare(a.How, b.How)
	})
	return out
}

// line says it in a cell.
func (o outcome) line() string {
	var out []string
	for _, e := range o.Ends {
		out = append(out, fmt.Sprintf("%d %s after %s", e.Times, e.How, e.Median.Round(10*time.Millisecond)))
	}
	if o.Refused > 0 {
		out = append(out, fmt.Sprintf("%d not taken", o.Refused))
	}
	var answers []string
	for how, n := range o.Answers {
		answers = append(answers, fmt.Sprintf("%d× %s", n, how))
	}
	slices.Sort(answers)
	return strings.Join(append(out, answers...), ", ")
}
