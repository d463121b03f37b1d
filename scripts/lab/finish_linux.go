package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// finish ends the load, collects what there is to know, and judges.
func (r *runner) finish(ctx context.Context, before []world.Resources) error {
	stop, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := r.load.Stop(stop); err != nil {
		return err
	}
	for kind, n := range r.load.Acknowledged() {
		r.result.Acknowledged += n
		_ = kind
	}
	if least := r.plan.Least(); r.result.Acknowledged < least {
		r.result.fail("operations", fmt.Sprintf("%d were acknowledged, at least %d are wanted", r.result.Acknowledged, least))
	}
	final, cancelFinal := context.WithTimeout(ctx, finalWithin)
	defer cancelFinal()
	nodes, occurrences, err := r.load.Final(final)
	if err != nil {
		return fmt.Errorf("read the final states: %w", err)
	}
	if err := r.leaks(ctx, before); err != nil {
		r.result.leaks(errors.Join(err, r.keepHeld(ctx)))
	}
	if err := r.rec.Close(); err != nil {
		return err
	}
	if err := r.stored(ctx, nodes); err != nil {
		return err
	}
	leaders, err := r.leaders()
	if err != nil {
		return err
	}
	r.deaths()
	in := history.Input{
		Path: filepath.Join(r.dir, "history.jsonl"), Nodes: nodes, Occurrences: occurrences, Schedules: r.load.Schedules(),
		Counts: r.load.Counts(), Leaders: leaders, Losses: r.losses,
	}
	return r.judge(in)
}

// judge keeps the report beside the history, and what it was made from.
func (r *runner) judge(in history.Input) error {
	report := history.Check(in)
	for _, v := range report.Failed() {
		why := fmt.Sprintf("%d violations in %d", v.Violations, v.Checked)
		if len(v.Evidence) > 0 {
			why += "; the first: " + v.Evidence[0]
		}
		r.result.fail(v.Name, why)
	}
	for _, f := range report.Failures {
		if f.Excuse != "" {
			r.result.Excused++
		}
	}
	for _, o := range report.Outages {
		r.result.Outages = append(r.result.Outages, o.Longest)
	}
	for name, v := range map[string]any{"verdicts.json": report, "input.json": in, "plan.json": r.plan} {
		text, err := json.MarshalIndent(v, "", " ")
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, name), text, 0o644)
		}
		if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

// stored stops the agents and reads what is on their disks: that must be what they
// said, and the same everywhere.
func (r *runner) stored(ctx context.Context, nodes []history.NodeState) error {
	all, at, err := r.w.Stored(ctx)
	if err != nil {
		return err
	}
	for i := range nodes {
		s := all[nodes[i].Name]
		nodes[i].Hash = s.Hashes[at]
		if s.Last < nodes[i].Revision {
			r.result.fail("disks", fmt.Sprintf("%s showed revision %d, and has %d on its disk", nodes[i].Name, nodes[i].Revision, s.Last))
		}
	}
	return nil
}

// leaders reads from the logs who led which term.
func (r *runner) leaders() ([]history.Leader, error) {
	var out []history.Leader
	for _, n := range r.w.Nodes {
		lines, err := n.Lines(world.Leads)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			out = append(out, history.Leader{Term: l.Term, Node: n.Name})
		}
	}
	return out, nil
}

// deaths are agents that ended by themselves without a fault that makes them.
func (r *runner) deaths() {
	for _, n := range r.w.Nodes {
		for _, d := range n.Deaths() {
			if d.Excused {
				continue
			}
			r.result.fail("deaths", fmt.Sprintf("%s ended by itself with %d at %s: %s", d.Node, d.Code, d.At.Format(time.TimeOnly), d.Words))
		}
	}
}
