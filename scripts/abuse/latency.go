package main

import (
	"slices"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// sample is one honest request.
type sample struct {
	due  time.Duration // since the beginning
	took time.Duration // from when it was due
	fail string        // why it failed; "" when it did not
}

// latencies are the honest requests of a phase. A failed one took as long as it took until
// it failed.
type latencies struct {
	Requests int           `json:"requests"`
	Failed   int           `json:"failed"`
	Failure  string        `json:"failure,omitempty"` // the first one
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	P999     time.Duration `json:"p999_ns"`
	Max      time.Duration `json:"max_ns"`
}

// within sums up those that were due from one mark, inclusive, to the next one, exclusive.
func within(all []sample, from, to time.Duration) latencies {
	var l latencies
	var took []time.Duration
	for _, s := range all {
		if s.due < from || s.due >= to {
			continue
		}
		took = append(took, s.took)
		if s.fail == "" {
			continue
		}
		if l.Failed++; l.Failure == "" {
			l.Failure = s.fail
		}
	}
	slices.Sort(took)
	l.Requests = len(took)
	l.P50, l.P99, l.P999 = bench.Percentile(took, 0.5), bench.Percentile(took, 0.99), bench.Percentile(took, 0.999)
	l.Max = bench.Percentile(took, 1)
	return l
}

// due is when the n-th request of a user falls due: users come one after the other, evenly.
func due(n, user, users int, rate float64) time.Duration {
	return time.Duration((float64(n)*float64(users) + float64(user)) / rate * float64(time.Second))
}
