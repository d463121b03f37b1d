package night

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// end checks what has to be so after each night.
func (s *stage) end(ctx context.Context, before []world.Resources) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	if voters := len(s.w.Nodes); voters < 3 {
		return fmt.Errorf("there are %d servers in the end, not three", voters)
	}
	for _, n := range s.w.Nodes {
		if err := s.servesWithin(ctx, 10*time.Second, n); err != nil {
			return err
		}
	}
	if _, err := s.w.Written(ctx, 10*time.Second, s.w.Nodes); err != nil {
		return err
	}
	s.ledger.stop()
	if err := s.acknowledged(ctx); err != nil {
		return err
	}
	nodes, in, err := s.history(ctx)
	if err != nil {
		return err
	}
	if err := s.w.Leaks(ctx, before, 2*(sessions+knockers), leakWithin); err != nil {
		return err
	}
	if err := s.onDisks(ctx, nodes); err != nil {
		return err
	}
	for _, n := range s.w.Nodes {
		for _, d := range n.Deaths() {
			if !d.Excused {
				return fmt.Errorf("%s ended by itself with %d: %s", d.Node, d.Code, d.Words)
			}
		}
	}
	if !s.lives {
		return nil
	}
	in.Nodes = nodes
	return judgeHistory(in, s.dir)
}

// acknowledged holds the ledger, and the load's writes of settings, against the state.
func (s *stage) acknowledged(ctx context.Context) error {
	n := s.w.Nodes[s.rng.IntN(len(s.w.Nodes))]
	is, err := collect(ctx, n.Client)
	if err != nil {
		return fmt.Errorf("read the state after the night: %w", err)
	}
	tries := s.ledger.all()
	v := judge(tries, is, s.said)
	if !s.quiet && !s.lives {
		more, err := s.loadWrites()
		if err != nil {
			return err
		}
		w := judge(more, is, s.said)
		v.Acknowledged, v.Lost, v.Wrong = v.Acknowledged+w.Acknowledged, v.Lost+w.Lost, append(v.Wrong, w.Wrong...)
	}
	s.result.Acknowledged, s.result.Lost = v.Acknowledged, v.Lost
	if len(v.Wrong) > 0 {
		return errors.New("acknowledged writes: " + strings.Join(v.Wrong, "; "))
	}
	if v.Acknowledged < 50 {
		return fmt.Errorf("only %d writes were acknowledged: that shows nothing", v.Acknowledged)
	}
	if s.mustLose && v.Lost == 0 {
		return errors.New("nothing was lost: that shows nothing")
	}
	return s.tokens(ctx, n, tries)
}

// loadWrites are the load's writes of settings, from the history.
func (s *stage) loadWrites() ([]try, error) {
	if err := s.rec.Close(); err != nil {
		return nil, err
	}
	ops, _, err := history.ReadFile(filepath.Join(s.dir, "history.jsonl"))
	if err != nil {
		return nil, err
	}
	var out []try
	for _, o := range ops {
		if o.Kind != history.Write && o.Kind != history.CompareAndSet || o.Outcome == history.Refused {
			continue
		}
		// Without a revision somebody else's later write was shown: then nothing is known of where
		// this one stands.
		out = append(out, try{
			Kind: aSetting, Name: o.Key, Value: o.Value, Revision: o.Revision, OK: o.Outcome == history.OK && o.Revision != 0,
			Begin: s.began.Add(o.Begin), End: s.began.Add(o.End),
		})
	}
	return out, nil
}

// history ends the load of a cluster that lives, and reads what it has to be judged by.
func (s *stage) history(ctx context.Context) ([]history.NodeState, history.Input, error) {
	var in history.Input
	if !s.lives {
		return nil, in, nil
	}
	for _, n := range s.w.Nodes {
		s.back(n)
	}
	stop, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	if err := s.load.Stop(stop); err != nil {
		return nil, in, err
	}
	nodes, occurrences, err := s.load.Final(ctx)
	if err != nil {
		return nil, in, fmt.Errorf("read the final states: %w", err)
	}
	// The ledger's runs are not in the history.
	occurrences = slices.DeleteFunc(occurrences, func(o history.Occurrence) bool { return o.Task == byHand })
	counts := slices.DeleteFunc(s.load.Counts(), func(c history.Count) bool { return c.Task == byHand })
	in = history.Input{
		Path: filepath.Join(s.dir, "history.jsonl"), Occurrences: occurrences, Schedules: s.load.Schedules(), Counts: counts,
		Losses: s.losses, Limits: history.Limits{MoveHung: 8 * time.Second}, Without: []string{history.VerdictLeaders},
	}
	for _, n := range s.load.Acknowledged() {
		s.result.Acknowledged += n
	}
	if s.quiet {
		in.Without = history.Verdicts()
	}
	return nodes, in, s.rec.Close()
}

// onDisks stops the agents: what is on their disks has to be the same, and what they said.
func (s *stage) onDisks(ctx context.Context, nodes []history.NodeState) error {
	all, at, err := s.w.Stored(ctx)
	if err != nil {
		return err
	}
	hash := ""
	for name, stored := range all {
		if h := stored.Hashes[at]; hash != "" && h != hash {
			return fmt.Errorf("at revision %d %s has another state on its disk than another node", at, name)
		}
		hash = stored.Hashes[at]
	}
	for i := range nodes {
		nodes[i].Hash = all[nodes[i].Name].Hashes[at]
	}
	return nil
}

// judgeHistory is the judgement of any run of the laboratory.
func judgeHistory(in history.Input, dir string) error {
	report := history.Check(in)
	if err := writeJSON(filepath.Join(dir, "verdicts.json"), report); err != nil {
		return err
	}
	var errs error
	for _, v := range report.Failed() {
		why := fmt.Sprintf("%s: %d violations in %d", v.Name, v.Violations, v.Checked)
		if len(v.Evidence) > 0 {
			why += "; the first: " + v.Evidence[0]
		}
		errs = errors.Join(errs, errors.New(why))
	}
	return errs
}

// revisionOf writes a setting, and returns its revision.
func revisionOf(ctx context.Context, n *world.Node) (uint64, error) {
	row, err := n.Client.SetSetting(ctx, bench.Setting(2), bench.Value(2, time.Now().UnixMilli()%1_000_000))
	return row.Modified, err
}

func removeAll(pattern string) error {
	all, err := filepath.Glob(pattern)
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("there is no %s", pattern)
	}
	for _, name := range all {
		err = errors.Join(err, os.RemoveAll(name))
	}
	return err
}
