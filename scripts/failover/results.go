//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// Names of the systems and of what happens to them.
const (
	usherName = "usher"
	etcdName  = "etcd"

	killed  = "leader killed"
	stopped = "leader stopped (SIGSTOP)"
	cutOff  = "leader behind a black hole"
	moved   = "planned move"
)

// result is one series.
type result struct {
	system string
	nodes  int
	what   string
	took   []time.Duration // outages; of moves, gaps
}

// figures of a series.
func (r result) figures() (median, p95, most time.Duration) {
	sorted := slices.Sorted(slices.Values(r.took))
	return bench.Median(sorted), bench.Percentile(sorted, 0.95), bench.Percentile(sorted, 1)
}

func (p *plan) table() bench.Table {
	t := bench.Table{Left: 2, Head: []string{"what", "system", "nodes", "times", "median ms", "95 % ms", "longest ms"}}
	number := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d)/float64(time.Millisecond)) }
	for _, r := range p.results {
		median, p95, most := r.figures()
		t.Rows = append(t.Rows, []string{r.what, r.system, fmt.Sprint(r.nodes), fmt.Sprint(len(r.took)), number(median), number(p95), number(most)})
	}
	return t
}

// goals are about usher alone; etcd's figures stand beside them.
func (p *plan) goals() []bench.Goal {
	var out []bench.Goal
	goal := func(r result, name string, d time.Duration, limit float64) {
		out = append(out, bench.Goal{
			Name: fmt.Sprintf("%s, %d nodes, %s", r.what, r.nodes, name), Unit: " ms", Limit: limit,
			Value: float64(d) / float64(time.Millisecond), Note: fmt.Sprintf("of %d", len(r.took)),
		})
	}
	for _, r := range p.results {
		median, p95, most := r.figures()
		switch {
		case r.system == usherName && r.what == killed:
			goal(r, "median", median, 60)
			goal(r, "longest", most, 250)
		case r.system == usherName && r.what == moved:
			goal(r, "median", median, 50)
			goal(r, "95 %", p95, 200)
		}
	}
	return out
}

// circumstances are what the figures depend on.
func (p *plan) circumstances() []string {
	lines := []string{
		fmt.Sprintf("%d writers while leaders are lost, %d while the leadership moves; a try is given up after %s and made at another node", losingWriters, movingWriters, bench.TryTimeout),
		"usher: election timeout 500 ms, detection of crashes at most every 10 s; etcd: heartbeat 100 ms, election timeout 1000 ms: both as they come",
		fmt.Sprintf("acknowledged: %d writes, none was lost; outcome unknown: %d", p.tally.acknowledged, p.tally.unknown),
		fmt.Sprintf("planned moves that the chosen node did not win, so that the old leader went on: %d; their gaps are among the figures", p.tally.unmoved),
	}
	for _, s := range p.skipped {
		lines = append(lines, "SKIPPED: "+s)
	}
	return lines
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}
