package night

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/ushercluster/usher/scripts/lab/world"
)

// allDisks loses every server, and goes on with a snapshot on other machines. One old machine
// comes back later.
func allDisks(ctx context.Context, s *stage) error {
	old := s.w.Nodes
	file := filepath.Join(s.w.Dir, "saved.usher-snapshot")
	means := map[string]string{"FILE": file}
	saved, err := s.types(ctx, old[s.rng.IntN(3)], done, lineSave, means)
	if err != nil {
		return err
	}
	if s.said, err = saidByInspect(saved.Out); err != nil {
		return err
	}
	if err := s.wait(ctx, 3*time.Second); err != nil { // what is written now will be lost
		return err
	}
	back := old[s.rng.IntN(3)]
	if err := errors.Join(back.Kill(ctx), s.disksLost(ctx, s.w.Others(back)...)); err != nil {
		return err
	}
	s.abandon(ctx)
	s.mustLose = true
	return errors.Join(s.restored(ctx, file, s.said), s.comesBack(ctx, back))
}

// restored does what the page says: the first machine, then the others.
func (s *stage) restored(ctx context.Context, file string, before said) error {
	key, err := s.keyFile()
	if err != nil {
		return err
	}
	means := map[string]string{"FILE": file, "KEY": key}
	first, rest := s.w.Spare[0], s.w.Spare[1:3]
	shown, err := s.types(ctx, first, done, lineInspect, means)
	if err != nil {
		return err
	}
	if again, err := saidByInspect(shown.Out); err != nil || again != before {
		return fmt.Errorf("the file was said to be of %+v when it was saved, and now %+v (%w)", before, again, err)
	}
	printed, err := s.types(ctx, first, done, lineRestore, means, first.Own()...)
	if err != nil {
		return err
	}
	if m := adminToken.FindStringSubmatch(printed.Out); m == nil {
		return fmt.Errorf("no admin token is printed:\n%s", printed.Out)
	} else {
		s.alsoGood = m[1]
	}
	s.w.Members(first)
	if err := s.starts(first); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	if err := s.joins(printed.Out, []*world.Node{first}, rest...); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	if err := s.status(ctx, rest[1], "3 of 3 reachable"); err != nil {
		return err
	}
	s.saw("restored on %s, %s and %s from a file that said: all after revision %d of %s is not in it",
		first.Name, rest[0].Name, rest[1].Name, before.Revision, before.AsOf.Format(time.TimeOnly))
	return nil
}

var adminToken = regexp.MustCompile(`(?m)^admin token +(\S+)$`)

// comesBack starts a machine of the old cluster, and clears it as the page says.
func (s *stage) comesBack(ctx context.Context, old *world.Node) error {
	if err := old.Start(); err != nil {
		return err
	}
	if err := s.status(ctx, old, "no quorum"); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return fmt.Errorf("while a machine of the old cluster is back: %w", err)
	}
	if err := s.stops(ctx, old); err != nil {
		return err
	}
	if _, err := s.types(ctx, old, done, linePurge, nil, "--yes", "--data-dir", old.Data()); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(old.Data(), "raft")); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s was cleared, and has its log still (%w)", old.Name, err)
	}
	s.saw("%s of the old cluster came back, did no harm, and is cleared", old.Name)
	return nil
}
