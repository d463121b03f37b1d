//go:build linux

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func times(ms ...int) []time.Duration {
	var out []time.Duration
	for _, n := range ms {
		out = append(out, time.Duration(n)*time.Millisecond)
	}
	return out
}

func TestGoals(t *testing.T) {
	for name, tc := range map[string]struct {
		r      result
		judged int
		missed []string // ends of names
	}{
		"kills at their goals":         {result{usherName, 3, killed, times(60, 30, 250)}, 2, nil},
		"kills are slow":               {result{usherName, 3, killed, times(61, 61, 20)}, 2, []string{"median"}},
		"one kill is very slow":        {result{usherName, 5, killed, times(20, 20, 251)}, 2, []string{"longest"}},
		"moves at their goals":         {result{usherName, 3, moved, times(50, 50, 200)}, 2, nil},
		"moves are slow":               {result{usherName, 3, moved, times(51, 52, 53)}, 2, []string{"median"}},
		"one in twenty may be slow":    {result{usherName, 3, moved, append(slices.Repeat(times(10), 19), times(900)...)}, 2, nil},
		"two in twenty may not":        {result{usherName, 3, moved, append(slices.Repeat(times(10), 18), times(900, 900)...)}, 2, []string{"95 %"}},
		"stops have timeouts":          {result{usherName, 3, stopped, times(5000)}, 0, nil},
		"black holes have them too":    {result{usherName, 3, cutOff, times(5000)}, 0, nil},
		"etcd's figures are for show":  {result{etcdName, 3, killed, times(5000)}, 0, nil},
		"and those of its moves alike": {result{etcdName, 3, moved, times(5000)}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			goals := (&plan{results: []result{tc.r}}).goals()
			if len(goals) != tc.judged {
				t.Fatalf("%d goals, want %d", len(goals), tc.judged)
			}
			for _, g := range goals {
				wanted := slices.ContainsFunc(tc.missed, func(end string) bool { return strings.HasSuffix(g.Name, end) })
				if got := g.Verdict() == "MISSED"; got != wanted {
					t.Errorf("%s: %s at %v", g.Name, g.Verdict(), g.Value)
				}
			}
		})
	}
}

func TestParse(t *testing.T) {
	for name, tc := range map[string]struct {
		args string
		ok   bool
	}{
		"plain":             {"--binary u", true},
		"all":               {"--binary u --etcd e --etcd-client c --kills 1 --moves 1 --nodes 3,4,9 --markdown", true},
		"no binary":         {"--kills 1", false},
		"half an etcd":      {"--binary u --etcd e", false},
		"two nodes":         {"--binary u --nodes 2", false},
		"nodes without end": {"--binary u --nodes 3,", false},
		"no kills":          {"--binary u --kills 0", false},
		"an argument":       {"--binary u now", false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(strings.Fields(tc.args)); (err == nil) != tc.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
