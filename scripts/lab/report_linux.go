package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/plan"
)

// report prints what all runs together have shown.
func (s *series) report(ctx context.Context) error {
	where, err := bench.Machine(ctx)
	if err != nil {
		return err
	}
	facts := []string{where, fmt.Sprintf("usher %s, size %s, begun %s", s.tree, s.size.Name, s.state.Began.Format("2006-01-02 15:04 MST"))}
	skipped := map[string]bool{}
	for _, r := range s.state.Results {
		for _, line := range r.Skipped {
			skipped[line] = true
		}
	}
	for _, line := range slices.Sorted(maps.Keys(skipped)) {
		facts = append(facts, "SKIPPED: "+line)
	}
	fmt.Fprintln(s.out)
	return s.output.Write(s.out, facts, []bench.Table{s.runTable(), s.faultTable()})
}

func (s *series) runTable() bench.Table {
	t := bench.Table{Head: []string{"seed", "verdict", "nodes", "steps", "acknowledged", "write after healing, median", "at most", "longest outage of writes", "took"}, Left: 2}
	for _, r := range s.state.Results {
		written := r.times(func(s stepResult) time.Duration { return s.Written })
		verdict := "passed"
		if len(r.Failed) > 0 {
			var what []string
			for _, f := range r.Failed {
				what = append(what, f.What)
			}
			verdict = "FAILED: " + strings.Join(slices.Compact(what), ", ")
		}
		t.Rows = append(t.Rows, []string{fmt.Sprint(r.Seed), verdict, fmt.Sprint(r.Nodes), fmt.Sprint(len(r.Steps)), fmt.Sprint(r.Acknowledged),
			short(bench.Median(written)), short(most(written)), short(most(r.Outages)), r.Took.Round(time.Second).String()})
	}
	return t
}

// faultTable counts faults. Times are of steps that had the fault, alone or with another.
func (s *series) faultTable() bench.Table {
	t := bench.Table{Head: []string{"fault", "times", "write after healing, median", "at most", "whole, median", "at most"}, Left: 1}
	for _, k := range plan.Kinds() {
		times := 0
		var written, whole []time.Duration
		for _, r := range s.state.Results {
			times += r.Faults[k.Name]
			for _, step := range r.Steps {
				if step.has(k.Name) {
					written, whole = append(written, step.Written), append(whole, step.Whole)
				}
			}
		}
		if times > 0 {
			t.Rows = append(t.Rows, []string{k.Name, fmt.Sprint(times), short(bench.Median(written)), short(most(written)), short(bench.Median(whole)), short(most(whole))})
		}
	}
	return t
}

// has reports whether the step had a fault, by its words.
func (s stepResult) has(fault string) bool {
	for part := range strings.SplitSeq(s.What, " with ") {
		if name, _, _ := strings.Cut(part, " "); name == fault {
			return true
		}
	}
	return false
}
