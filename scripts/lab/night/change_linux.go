package night

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/bench"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// desk is what restore --over brings back: settings that were set, and tasks.
type desk struct {
	Settings map[string]string
	Tasks    map[string]admin.TaskSpec
}

func (s *stage) desk(ctx context.Context, n *world.Node) (desk, error) {
	d := desk{Tasks: map[string]admin.TaskSpec{}}
	set, err := n.Client.ExportSettings(ctx, false)
	d.Settings = set.Settings
	return d, errors.Join(err, each(ctx, n.Client.Tasks, func(t admin.Task) { d.Tasks[t.Name] = t.TaskSpec }))
}

// wrongChange changes settings and tasks, and brings those of a snapshot back. Tokens go on
// being made all the time.
func wrongChange(ctx context.Context, s *stage) error {
	s.ledger.onlyTokens()
	n := s.w.Nodes[s.rng.IntN(3)]
	before, err := s.desk(ctx, n)
	if err != nil {
		return err
	}
	key, err := s.keyFile()
	if err != nil {
		return err
	}
	means := map[string]string{"FILE": filepath.Join(s.w.Dir, "saved.usher-snapshot"), "KEY": key}
	if _, err := s.types(ctx, n, done, lineSave, means); err != nil {
		return err
	}
	changed, err := s.spoil(ctx, n, before)
	if err != nil {
		return err
	}
	shown, err := s.types(ctx, n, done, lineHistory, nil)
	if err != nil {
		return err
	}
	if !strings.Contains(shown.Out, "snapshot.keep") {
		return fmt.Errorf("usher setting history does not show the change:\n%s", shown.Out)
	}
	preview, err := s.types(ctx, n, asks, lineOver, means)
	if err != nil {
		return err
	}
	var listed []string
	for _, cells := range cellsOf(preview.Err, "WHAT") {
		if len(cells) == 4 {
			listed = append(listed, cells[0]+" "+cells[1])
		}
	}
	slices.Sort(listed)
	if d := cmp.Diff(changed, listed); d != "" {
		return fmt.Errorf("it does not show what would change (-is +shown):\n%s%s", d, preview.Err)
	}
	now, err := s.desk(ctx, n)
	if err != nil {
		return err
	}
	if _, there := now.Tasks["wrong"]; !there || now.Settings["snapshot.keep"] != "3" {
		return errors.New("nobody agreed, and it was done")
	}
	if _, err := s.types(ctx, n, done, lineOver, means, "--yes"); err != nil {
		return err
	}
	after, err := s.desk(ctx, s.w.Nodes[0])
	if err != nil {
		return err
	}
	if d := cmp.Diff(before, after); d != "" {
		return fmt.Errorf("settings and tasks are not as they were (-before +after):\n%s", d)
	}
	// The value is the one of before, under a revision of its own.
	s.ledger.add(try{Kind: aSetting, Name: bench.Setting(firstKey), Value: before.Settings[bench.Setting(firstKey)]})
	s.saw("%d wrong changes were listed and taken back, no other", len(changed))
	return nil
}

// spoil makes wrong changes, and returns their names in order.
func (s *stage) spoil(ctx context.Context, n *world.Node, before desk) ([]string, error) {
	names := slices.Sorted(maps.Keys(before.Tasks))
	gone, other := names[0], names[1]
	set := bench.Setting(firstKey) // which the ledger has set, and the load does not read
	for _, args := range [][]string{
		{"setting", "set", "snapshot.keep", "3"},
		{"setting", "unset", set},
		{"task", "remove", gone, "--yes"},
		{"task", "pause", other},
		{"task", "add", "wrong", "--document", world.Document, "--every", "48h"},
	} {
		if _, err := s.runs(ctx, n, done, args...); err != nil {
			return nil, err
		}
	}
	changed := []string{"setting snapshot.keep", "setting " + set, "task " + gone, "task " + other, "task wrong"}
	slices.Sort(changed)
	return changed, nil
}
