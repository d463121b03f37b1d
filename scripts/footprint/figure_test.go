package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func good() measured {
	return measured{
		binaryBytes: 20e6, rssBytes: 25e6, processor: 0.004, idle: 20 * time.Second,
		restarts: []time.Duration{1500 * time.Millisecond, 600 * time.Millisecond, 700 * time.Millisecond},
	}
}

func TestReport(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*measured)
		missed string
	}{
		"all reached":       {func(*measured) {}, ""},
		"exactly at a goal": {func(m *measured) { m.rssBytes = goalRSS * megabyte }, ""},
		"memory":            {func(m *measured) { m.rssBytes = goalRSS*megabyte + 1 }, "memory"},
		"processor":         {func(m *measured) { m.processor = 0.011 }, "processor"},
		"binary":            {func(m *measured) { m.binaryBytes = 31e6 }, "binary"},
		"restart":           {func(m *measured) { m.restarts[1] = 1100 * time.Millisecond }, "restart"},
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			tc.change(&m)
			var out strings.Builder
			err := report(&out, m.figures())
			if got := errors.Is(err, errMissed); got != (tc.missed != "") {
				t.Fatalf("report: %v\n%s", err, out.String())
			}
			for line := range strings.Lines(out.String()) {
				want := tc.missed != "" && strings.HasPrefix(line, tc.missed)
				if got := strings.Contains(line, "MISSED"); got != want {
					t.Errorf("MISSED %v, want %v: %s", got, want, line)
				}
			}
		})
	}
}

func TestMedianIsTheUpperOne(t *testing.T) {
	if got := median([]time.Duration{1, 2, 3, 4}); got != 3 {
		t.Errorf("median %d, want 3", got)
	}
}
