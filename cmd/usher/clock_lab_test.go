//go:build lab

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestStepped: a clock that is set shows another wall time, and durations go on as if
// nothing had happened.
func TestStepped(t *testing.T) {
	for _, by := range []time.Duration{time.Second, -time.Second, 3 * time.Hour, -48 * time.Hour, 200 * 24 * time.Hour} {
		before := time.Now()
		after := stepped(before, by)
		if got := after.Round(0).Sub(before.Round(0)); got != by {
			t.Errorf("set by %s: the wall clock moved by %s", by, got)
		}
		if got := after.Sub(before); got != 0 {
			t.Errorf("set by %s: the monotonic clock moved by %s", by, got)
		}
		if after.Location() != before.Location() {
			t.Errorf("set by %s: the location changed", by)
		}
	}
}

func TestLabClockFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clock")
	c := &labClock{file: file}
	start := time.Now()
	for i, step := range []struct {
		text string
		want time.Duration
	}{{"", 0}, {"1h0m0s", time.Hour}, {"nonsense", time.Hour}, {"-90s\n", -90 * time.Second}} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := c.offset(start.Add(time.Duration(i) * labClockLook)); got != step.want {
			t.Errorf("%q: %s, want %s", step.text, got, step.want)
		}
	}
}

func TestWallClockWithoutAFile(t *testing.T) {
	now := wallClock(func(string) (string, bool) { return "", false })
	if d := time.Since(now()).Abs(); d > time.Minute {
		t.Errorf("it is off by %s", d)
	}
}
