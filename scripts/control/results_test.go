//go:build linux

package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// made is a sample with so many answers in one second, each half as fast as told at
// the median.
func made(rate int, p50, each time.Duration) sample {
	return sample{ops: rate, took: time.Second, p50: p50, p95: 2 * p50, p99: 3 * p50, servers: each * time.Duration(rate), client: time.Microsecond * time.Duration(rate)}
}

// reached are results with every goal exactly reached.
func reached() *results {
	r := &results{valueBytes: 120, diskSyncs: []float64{1000, 1200, 900}}
	for range 3 {
		add := func(system, scenario string, rate int, p50, each time.Duration) {
			r.add(system, scenario, made(rate, p50, each))
		}
		add(usherName, manyWriters, 1300, 30*time.Millisecond, 90*time.Microsecond)
		add(etcdName, manyWriters, 1000, 40*time.Millisecond, 100*time.Microsecond)
		add(usherName, oneWriter, 300, 950*time.Microsecond, time.Millisecond)
		add(etcdName, oneWriter, 290, 1000*time.Microsecond, time.Millisecond)
		add(usherName, followWrites, 1170, 30*time.Millisecond, 100*time.Microsecond)
		add(usherName, linearizable, 9000, time.Millisecond, 55*time.Microsecond)
		add(etcdName, linearizable, 5000, time.Millisecond, 100*time.Microsecond)
	}
	return r
}

func TestGoals(t *testing.T) {
	worsen := func(scenario string, f func(*sample)) func(*results) {
		return func(r *results) {
			all := r.samples[usherName][scenario]
			for i := range all {
				f(&all[i])
			}
		}
	}
	for name, tc := range map[string]struct {
		change func(*results)
		missed []string // beginnings of names
	}{
		"all reached":    {func(*results) {}, nil},
		"too few writes": {worsen(manyWriters, func(s *sample) { s.ops -= 5; s.servers = 80 * time.Microsecond * time.Duration(s.ops) }), []string{"writes a second, 64"}},
		"costly writes":  {worsen(manyWriters, func(s *sample) { s.servers += s.servers / 50 }), []string{"processor time of a write"}},
		"slow writes":    {worsen(oneWriter, func(s *sample) { s.p50 += 10 * time.Microsecond }), []string{"median latency"}},
		"slow followers": {worsen(followWrites, func(s *sample) { s.ops -= 20 }), []string{"writes a second through"}},
		"costly reads":   {worsen(linearizable, func(s *sample) { s.servers += s.servers / 25 }), []string{"processor time of a linearizable"}},
		"one bad round":  {func(r *results) { r.samples[usherName][manyWriters][1].ops = 1 }, nil},
		"two bad rounds": {func(r *results) {
			r.samples[usherName][oneWriter][0].p50 *= 2
			r.samples[usherName][oneWriter][1].p50 *= 2
		}, []string{"median latency"}},
		"etcd is not there": {func(r *results) { delete(r.samples, etcdName) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := reached()
			tc.change(r)
			goals := r.goals()
			for _, g := range goals {
				wanted := slices.ContainsFunc(tc.missed, func(begin string) bool { return strings.HasPrefix(g.Name, begin) })
				if got := g.Verdict() == "MISSED"; got != wanted {
					t.Errorf("%s: %s at %v", g.Name, g.Verdict(), g.Value)
				}
			}
			if errors.Is(bench.Judge(goals), bench.ErrMissed) != (len(tc.missed) > 0) {
				t.Error("judged otherwise")
			}
		})
	}
}

func TestWithoutEtcdOnlyOurOwnGoalIsJudged(t *testing.T) {
	r := reached()
	delete(r.samples, etcdName)
	for _, g := range r.goals() {
		if own := strings.Contains(g.Name, "through a follower"); (g.Verdict() == "skipped") == own {
			t.Errorf("%s: %s", g.Name, g.Verdict())
		}
	}
}

func TestTables(t *testing.T) {
	var out strings.Builder
	for _, table := range reached().tables() {
		table.Print(&out, true)
	}
	for _, want := range []string{
		"| writes, 64 writers                     | usher  |     1300 |  30.00 |  60.00 |  90.00 |          90 |                  1 |",
		"|   1000 |   900 | 1200 |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestSample(t *testing.T) {
	if _, err := newSample(nil, time.Second, 0, 0); err == nil {
		t.Error("a sample was made of nothing")
	}
	s, err := newSample([]time.Duration{4, 1, 3, 2}, 2*time.Second, 8*time.Millisecond, 4*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if s.rate() != 2 || s.each() != 2*time.Millisecond || s.clientEach() != time.Millisecond || s.p50 != 2 || s.p99 != 4 {
		t.Errorf("got %+v", s)
	}
}
