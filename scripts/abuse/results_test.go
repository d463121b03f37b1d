package main

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
)

// good is a result that keeps all limits, just.
func good() result {
	r := result{Kind: kinds[0], Needed: 10}
	for _, p := range []*phase{&r.Alone, &r.During, &r.After, &r.Control} {
		p.Latencies, p.RSS = latencies{Requests: 100, P99: time.Millisecond}, 50<<20
	}
	r.During.Latencies.P99, r.Control.Latencies.P99 = 4*time.Millisecond, 2*time.Millisecond
	r.During.RSS = 250 << 20
	r.Outcome = outcome{Acts: 9, Refused: 1}
	return r
}

func TestLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*result)
		broken bool
	}{
		"just kept":                {func(*result) {}, false},
		"slower":                   {func(r *result) { r.During.Latencies.P99++ }, true},
		"slow in the control, too": {func(r *result) { r.During.Latencies.P99, r.Control.Latencies.P99 = time.Second, time.Second }, false},
		"slow alone":               {func(r *result) { r.During.Latencies.P99, r.Alone.Latencies.P99 = time.Second, time.Second }, false},
		"no baseline":              {func(r *result) { r.Alone.Latencies.P99, r.Control.Latencies.P99 = 0, 0 }, true},
		"nothing measured":         {func(r *result) { *r = result{Kind: r.Kind} }, true},
		"more memory":              {func(r *result) { r.During.RSS += 1 << 20 }, true},
		"more memory afterwards":   {func(r *result) { r.After.RSS = 251 << 20 }, true},
		"one failed":               {func(r *result) { r.During.Latencies.Failed = 1 }, true},
		"one failed afterwards":    {func(r *result) { r.After.Latencies.Failed = 1 }, true},
		"the abuse took no place":  {func(r *result) { r.Outcome.Acts = 8 }, true},
		"the abuse was not let in": {func(r *result) { r.Outcome = outcome{Refused: 10} }, false},
	} {
		r := good()
		tc.change(&r)
		for _, json := range []bool{false, true} {
			err := options{json: json}.write(io.Discard, report{Results: []result{good(), r}})
			if errors.Is(err, bench.ErrMissed) != tc.broken {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestOutput(t *testing.T) {
	for _, json := range []bool{false, true} {
		var b strings.Builder
		if err := (options{json: json}).write(&b, report{Facts: []string{"a fact"}, Results: []result{good()}}); err != nil {
			t.Fatal(err)
		}
		if got := b.String(); !strings.Contains(got, "a fact") || !strings.Contains(got, kinds[0].Name) || strings.HasPrefix(got, "{") != json {
			t.Errorf("json %v: %s", json, got)
		}
	}
}

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		"--binary u":                                     strings.Join(kindNames(), " "),
		"--binary u --only ping":                         "ping",
		"--binary u --only slow-head*,ping":              "slow-head slow-head-tls ping",
		"--binary u --only ping,ping --for 5s --count 1": "ping",
		"":                           "!",
		"--binary u --only nothing":  "!",
		"--binary u --only [":        "!",
		"--binary u --for 10ms":      "!",
		"--binary u --count 0":       "!",
		"--binary u --cpu 1.5":       "!",
		"--binary u --rate NaN":      "!",
		"--binary u --output xml":    "!",
		"--binary u more":            "!",
		"--binary u --no-such-thing": "!",
	} {
		o, err := parse(strings.Fields(line))
		if want == "!" {
			if !errors.As(err, new(usageError)) {
				t.Errorf("%q: %v", line, err)
			}
			continue
		}
		var got []string
		for _, k := range o.kinds {
			got = append(got, k.Name)
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, %v", line, got, err)
		}
	}
}

// What is needed can be reached: a thousand streams are ten connections.
func TestKinds(t *testing.T) {
	for _, k := range kinds {
		for _, count := range []int{1, 50, 1000} {
			n, each := k.connections(count), k.each(count)
			if n < 1 || each < 1 || each > streamsEach || n*each > max(count, few) || k.needed(count) > k.all(count) {
				t.Errorf("%s, %d: %d connections of %d, %d needed", k.Name, count, n, each, k.needed(count))
			}
		}
		if k.Rate <= 0 || k.What == "" || k.Act == "" || k.H2 && !k.TLS {
			t.Errorf("%s is not described", k.Name)
		}
	}
}
