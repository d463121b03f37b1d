//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// results are the samples of all rounds.
type results struct {
	valueBytes int
	samples    map[string]map[string][]sample // by system, then scenario
	diskSyncs  []float64
}

func (r *results) add(system, scenario string, s sample) {
	if r.samples == nil {
		r.samples = map[string]map[string][]sample{}
	}
	if r.samples[system] == nil {
		r.samples[system] = map[string][]sample{}
	}
	r.samples[system][scenario] = append(r.samples[system][scenario], s)
}

// median of one figure over the rounds, zero if there were none.
func (r *results) median(system, scenario string, of func(sample) float64) float64 {
	var all []float64
	for _, s := range r.samples[system][scenario] {
		all = append(all, of(s))
	}
	return bench.Median(all)
}

// Figures of a sample.
func rate(s sample) float64       { return s.rate() }
func each(s sample) float64       { return float64(s.each()) }
func clientEach(s sample) float64 { return float64(s.clientEach()) }
func half(s sample) float64       { return float64(s.p50) }

// goals compares with etcd and with ourselves.
func (r *results) goals() []bench.Goal {
	goals := []bench.Goal{
		r.against("writes a second, 64 writers", manyWriters, rate, 1.3, true),
		r.against("processor time of a write, 64 writers", manyWriters, each, 0.9, false),
		r.against("median latency of a write, 1 writer", oneWriter, half, 0.95, false),
		r.against("processor time of a linearizable read", linearizable, each, 0.55, false),
	}
	through := bench.Goal{Name: "writes a second through a follower, 64 writers", Limit: 0.9, AtLeast: true, Unit: " x", Note: "of those through the leader"}
	through.Value = r.median(usherName, followWrites, rate) / r.median(usherName, manyWriters, rate)
	return append(goals, through)
}

// against is a ratio of medians.
func (r *results) against(name, scenario string, of func(sample) float64, limit float64, atLeast bool) bench.Goal {
	g := bench.Goal{Name: name, Limit: limit, AtLeast: atLeast, Unit: " x", Note: "of etcd's"}
	theirs := r.median(etcdName, scenario, of)
	if theirs == 0 {
		g.Skipped = "etcd was not measured"
		return g
	}
	g.Value = r.median(usherName, scenario, of) / theirs
	return g
}

// tables show the medians of the rounds.
func (r *results) tables() []bench.Table {
	t := bench.Table{Left: 2, Head: []string{"what", "system", "a second", "p50 ms", "p95 ms", "p99 ms", "CPU µs each", "client CPU µs each"}}
	for _, what := range scenarios {
		for _, system := range []string{usherName, etcdName} {
			if len(r.samples[system][what.name]) == 0 {
				continue
			}
			m := func(of func(sample) float64) float64 { return r.median(system, what.name, of) }
			ms := func(of func(sample) time.Duration) string {
				return fmt.Sprintf("%.2f", m(func(s sample) float64 { return float64(of(s)) })/float64(time.Millisecond))
			}
			t.Rows = append(t.Rows, []string{
				what.name, system, fmt.Sprintf("%.0f", m(rate)),
				ms(func(s sample) time.Duration { return s.p50 }), ms(func(s sample) time.Duration { return s.p95 }), ms(func(s sample) time.Duration { return s.p99 }),
				fmt.Sprintf("%.0f", m(each)/float64(time.Microsecond)), fmt.Sprintf("%.0f", m(clientEach)/float64(time.Microsecond)),
			})
		}
	}
	least, most := r.diskSyncs[0], r.diskSyncs[0]
	for _, s := range r.diskSyncs {
		least, most = min(least, s), max(most, s)
	}
	disk := bench.Table{Left: 1, Head: []string{"the disk alone", "median", "least", "most"}, Rows: [][]string{{
		"append 4 KiB and fdatasync, a second", fmt.Sprintf("%.0f", bench.Median(r.diskSyncs)), fmt.Sprintf("%.0f", least), fmt.Sprintf("%.0f", most),
	}}}
	return []bench.Table{t, disk}
}
