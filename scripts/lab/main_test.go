//go:build linux

package main

import (
	"errors"
	"io"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		runs int // 0: refused
		size string
	}{
		{"the smallest size", []string{"--binary", "x"}, 1, "smoke"},
		{"a size", []string{"nightly", "--binary", "x"}, 12, "nightly"},
		{"a seed is one run", []string{"nightly", "--binary", "x", "--seed", "7"}, 1, "nightly"},
		{"a seed with runs", []string{"nightly", "--binary", "x", "--seed", "7", "--runs", "3"}, 3, "nightly"},
		{"faults", []string{"--binary", "x", "--faults", "kill, pause"}, 1, "smoke"},
		{"no binary", nil, 0, ""},
		{"no such size", []string{"huge", "--binary", "x"}, 0, ""},
		{"no such fault", []string{"--binary", "x", "--faults", "rain"}, 0, ""},
		{"too few nodes", []string{"--binary", "x", "--nodes", "2"}, 0, ""},
		{"words behind", []string{"--binary", "x", "--keep", "more"}, 0, ""},
		{"no such flag", []string{"--binary", "x", "--maybe"}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, err := parse(tc.args, io.Discard)
			switch {
			case tc.runs == 0 && !errors.Is(err, errUsage):
				t.Errorf("%+v, %v: want a usage error", o, err)
			case tc.runs != 0 && (err != nil || o.runs != tc.runs || o.size.Name != tc.size || o.seed == 0):
				t.Errorf("%d runs of %s, seed %d, %v", o.runs, o.size.Name, o.seed, err)
			}
		})
	}
}

// TestResume: an interrupted series goes on, unless it was of another tree.
func TestResume(t *testing.T) {
	dir := t.TempDir()
	o, err := parse([]string{"release", "--binary", "x", "--tree", "a", "--out", dir}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	first := &series{options: o, progress: io.Discard, state: state{Tree: "a", Seed: 41, Results: []result{{Seed: 41}, {Seed: 42}}}}
	if err := first.save(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		tree  string
		fresh bool
		done  int
	}{{"a", false, 2}, {"b", false, 0}, {"a", true, 0}} {
		again := &series{options: o, progress: io.Discard}
		again.tree, again.fresh = tc.tree, tc.fresh
		if err := again.resume(); err != nil || len(again.state.Results) != tc.done || tc.done > 0 && again.state.Seed != 41 {
			t.Errorf("tree %s, fresh %t: %+v, %v", tc.tree, tc.fresh, again.state, err)
		}
	}
}

// TestAgain: the line of a failed run repeats it, with all that its plan depends on.
func TestAgain(t *testing.T) {
	o, err := parse([]string{"nightly", "--binary", "x", "--faults", "kill,pause", "--steps", "3", "--sessions", "9"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got := (&series{options: o}).again(result{Seed: 5, Nodes: 5})
	if want := "scripts/lab.sh nightly --seed 5 --nodes 5 --steps 3 --sessions 9 --faults kill,pause"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestStepHas(t *testing.T) {
	s := stepResult{What: "power-cut-all 1s with kill leader 2s"}
	if !s.has("power-cut-all") || !s.has("kill") || s.has("power-cut") || s.has("kill-all") {
		t.Error("a step is counted for another fault")
	}
	if got := most([]time.Duration{1, 3, 2}); got != 3 {
		t.Error(got)
	}
}
