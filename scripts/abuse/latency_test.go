package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWithin(t *testing.T) {
	var all []sample
	for i := range 200 { // due at 0 to 199 ms, the n-th took n ms
		all = append(all, sample{due: time.Duration(i) * time.Millisecond, took: time.Duration(i) * time.Millisecond})
	}
	all[50].fail, all[60].fail = "first", "second"
	const ms = time.Millisecond
	for name, tc := range map[string]struct {
		from, to time.Duration
		want     latencies
	}{
		"nothing":  {300 * ms, 400 * ms, latencies{}},
		"the half": {0, 100 * ms, latencies{Requests: 100, Failed: 2, Failure: "first", P50: 49 * ms, P99: 98 * ms, P999: 99 * ms, Max: 99 * ms}},
		"the rest": {100 * ms, time.Hour, latencies{Requests: 100, P50: 149 * ms, P99: 198 * ms, P999: 199 * ms, Max: 199 * ms}},
		"one":      {60 * ms, 61 * ms, latencies{Requests: 1, Failed: 1, Failure: "second", P50: 60 * ms, P99: 60 * ms, P999: 60 * ms, Max: 60 * ms}},
	} {
		if diff := cmp.Diff(tc.want, within(all, tc.from, tc.to)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// All users together ask at the rate, evenly.
func TestDue(t *testing.T) {
	var last time.Duration = -2 * time.Millisecond
	for n := range 3 {
		for user := range 50 {
			at := due(n, user, 50, 500)
			if at-last != 2*time.Millisecond {
				t.Fatalf("request %d of user %d at %v, the one before at %v", n, user, at, last)
			}
			last = at
		}
	}
}

func TestGovernor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var cpu time.Duration
		g := &governor{rate: 1000, share: 0.25, cpu: func() time.Duration { return cpu }, began: began}
		for range 1000 {
			if err := g.take(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 1900*time.Millisecond || took > 2*time.Second {
			t.Errorf("2000 acts of 1000 a second took %v", took)
		}
		cpu = 2 * time.Second // of a quarter of a core, for eight
		if err := g.take(t.Context(), 1); err != nil || time.Since(began) != 8*time.Second {
			t.Errorf("after 2 s of processor time: %v, %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		began = time.Now()
		for range 100 {
			_ = g.take(t.Context(), 10)
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("after a pause 1000 acts took %v: what was not done is made up for", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := g.take(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Errorf("at the end: %v", err)
		}
	})
}

func TestTally(t *testing.T) {
	var y tally
	y.did(3)
	y.hold(5)
	y.hold(-4)
	y.hold(2)
	y.opened()
	y.refused(errors.New("first"))
	y.refused(errors.New("second"))
	y.answered("408")
	y.answered("408")
	y.ended("closed", 3*time.Second)
	y.ended("closed", time.Second)
	y.ended("closed", 2*time.Second)
	y.ended(held, time.Minute)
	want := outcome{
		Acts: 3, Most: 5, Opened: 1, Refused: 2, Failure: "first", Answers: map[string]int{"408": 2},
		Ends: []end{{"closed", 3, 2 * time.Second, 3 * time.Second}, {held, 1, time.Minute, time.Minute}},
	}
	got := y.outcome()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if line := got.line(); line != "3 closed after 2s, 1 held to the end after 1m0s, 2 not taken, 2× 408" {
		t.Errorf("%q", line)
	}
}
