package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/plan"
)

// series is one run after the other, and the report on them.
type series struct {
	options
	out, progress io.Writer

	state state
}

// state is what a series has done so far. It is kept in a file, so that a long series can be
// interrupted.
type state struct {
	Size    string    `json:"size"`
	Tree    string    `json:"tree"`
	Seed    uint64    `json:"seed"` // of the first run
	Began   time.Time `json:"began"`
	Results []result  `json:"results"`
}

// result is what became of one run.
type result struct {
	Seed         uint64          `json:"seed"`
	Nodes        int             `json:"nodes"`
	Ended        time.Time       `json:"ended"`
	Took         time.Duration   `json:"took"`
	Faults       map[string]int  `json:"faults"`
	Steps        []stepResult    `json:"steps"`
	Acknowledged int             `json:"acknowledged"`
	Excused      int             `json:"excused"` // requests that failed because of a loss
	Outages      []time.Duration `json:"outages"` // of writes, one for each loss
	Skipped      []string        `json:"skipped,omitempty"`
	Failed       []failure       `json:"failed,omitempty"`
}

// stepResult is what became of one step.
type stepResult struct {
	What    string        `json:"what"`
	Took    time.Duration `json:"took"`    // until it was healed
	Written time.Duration `json:"written"` // from then to an acknowledged write
	Whole   time.Duration `json:"whole"`   // and until all nodes had everything
}

// failure is a promise that was not kept, or a run that could not be brought to its end.
type failure struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

func (r *result) fail(what, why string) { r.Failed = append(r.Failed, failure{what, why}) }

func (r *result) count(fault string) {
	if r.Faults == nil {
		r.Faults = map[string]int{}
	}
	r.Faults[fault]++
}

func (r *result) leaks(err error) {
	if err != nil {
		r.fail("leaks", err.Error())
	}
}

var errFailed = errors.New("a run has failed")

func (s *series) run(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make the directory for what is kept: %w", err)
	}
	if err := s.resume(); err != nil {
		return err
	}
	for i := len(s.state.Results); i < s.runs; i++ {
		r, err := s.once(ctx, i)
		if ctx.Err() != nil {
			return errors.Join(errors.New("interrupted"), err)
		}
		if err != nil {
			return err
		}
		s.state.Results = append(s.state.Results, r)
		if err := s.save(); err != nil {
			return err
		}
	}
	if err := s.report(ctx); err != nil {
		return err
	}
	for _, r := range s.state.Results {
		if len(r.Failed) > 0 {
			return errFailed
		}
	}
	return s.forget()
}

// once is the i-th run. The error is of the laboratory itself.
func (s *series) once(ctx context.Context, i int) (result, error) {
	seed := s.state.Seed + uint64(i)
	p, err := plan.Make(seed, s.size, s.kinds, i, s.nodes, s.chosen)
	if err != nil {
		return result{}, fmt.Errorf("%w: %w", errUsage, err)
	}
	dir, err := filepath.Abs(filepath.Join(s.dir, strconv.FormatUint(seed, 10)))
	if err != nil {
		return result{}, err
	}
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return result{}, fmt.Errorf("make the run's directory: %w", err)
	}
	fmt.Fprintf(s.progress, "run %d of %d: seed %d, %d nodes, %d steps\n", i+1, s.runs, seed, p.Nodes, len(p.Steps))
	r := &runner{plan: p, size: s.size, binary: s.binary, dir: dir, progress: s.progress}
	r.result = result{Seed: seed, Nodes: p.Nodes}
	began := time.Now()
	if err := r.do(ctx); err != nil {
		r.result.fail("run", err.Error())
	}
	r.result.Ended, r.result.Took = time.Now(), time.Since(began)
	s.line(i, r.result, dir)
	if len(r.result.Failed) > 0 || s.keep {
		return r.result, writeJSON(filepath.Join(dir, "result.json"), r.result)
	}
	return r.result, os.RemoveAll(dir)
}

// line tells what became of a run.
func (s *series) line(i int, r result, dir string) {
	verdict := "passed"
	if len(r.Failed) > 0 {
		verdict = "FAILED"
	}
	written, whole := r.times(func(s stepResult) time.Duration { return s.Written }), r.times(func(s stepResult) time.Duration { return s.Whole })
	fmt.Fprintf(s.out, "run %d of %d, seed %d: %s: %d nodes, %d steps, %d operations acknowledged, %d requests excused, write after healing %s (at most %s), whole %s (at most %s), %s\n",
		i+1, s.runs, r.Seed, verdict, r.Nodes, len(r.Steps), r.Acknowledged, r.Excused,
		short(bench.Median(written)), short(most(written)), short(bench.Median(whole)), short(most(whole)), r.Took.Round(time.Second))
	for _, f := range r.Failed {
		fmt.Fprintf(s.out, "  %s: %s\n", f.What, f.Why)
	}
	if len(r.Failed) > 0 {
		fmt.Fprintf(s.out, "  logs and history: %s\n  again: %s\n", dir, s.again(r))
	}
}

// again is the command that repeats a run.
func (s *series) again(r result) string {
	text := fmt.Sprintf("scripts/lab.sh %s --seed %d --nodes %d --steps %d --sessions %d", s.size.Name, r.Seed, r.Nodes, s.size.Steps, s.size.Sessions)
	if s.chosen {
		text += " --faults "
		for i, k := range s.kinds {
			if i > 0 {
				text += ","
			}
			text += k.Name
		}
	}
	return text
}

func (r result) times(of func(stepResult) time.Duration) []time.Duration {
	var out []time.Duration
	for _, s := range r.Steps {
		out = append(out, of(s))
	}
	return out
}

func most(all []time.Duration) time.Duration {
	var m time.Duration
	for _, d := range all {
		m = max(m, d)
	}
	return m
}

func short(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }

func (s *series) file() string { return filepath.Join(s.dir, s.size.Name+".json") }

// resume takes up an interrupted series of this size, if it was of the same binary.
func (s *series) resume() error {
	s.state = state{Size: s.size.Name, Tree: s.tree, Seed: s.seed, Began: time.Now()}
	if s.size.Name != "release" || s.fresh || s.chosen {
		return nil
	}
	text, err := os.ReadFile(s.file())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the state of the series: %w", err)
	}
	var old state
	if err := json.Unmarshal(text, &old); err != nil {
		return fmt.Errorf("read the state of the series: %s: %w; --fresh begins a new one", s.file(), err)
	}
	if old.Tree != s.tree {
		fmt.Fprintf(s.progress, "an interrupted series was of %s: a new one begins\n", old.Tree)
		return nil
	}
	fmt.Fprintf(s.progress, "going on after %d runs of %s; --fresh begins a new series\n", len(old.Results), old.Began.Format(time.DateTime))
	s.state = old
	return nil
}

func (s *series) save() error {
	if s.size.Name != "release" {
		return nil
	}
	return writeJSON(s.file(), s.state)
}

// forget ends a series that is complete.
func (s *series) forget() error {
	if err := os.Remove(s.file()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", name, err)
	}
	if err := os.WriteFile(name+".new", text, 0o644); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
