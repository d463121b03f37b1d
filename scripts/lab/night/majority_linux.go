package night

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/scripts/lab/fault"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/plan"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// skipped is by how much at least revisions go on higher after a recovery.
const skipped = 1_000_000

// majority loses two of three disks. The survivor is any, and has all that came to it.
func majority(ctx context.Context, s *stage) error {
	survivor := s.w.Nodes[s.rng.IntN(3)]
	fresh := []*world.Node{s.w.Spare[0], s.w.Others(survivor)[s.rng.IntN(2)]} // a new machine, and an old one with a new disk
	if err := s.disksLost(ctx, s.w.Others(survivor)...); err != nil {
		return err
	}
	s.abandon(ctx)
	if err := s.withoutMajority(ctx, survivor); err != nil {
		return err
	}
	if err := s.recovers(ctx, survivor, nil); err != nil {
		return err
	}
	return s.threeAgain(ctx, survivor, fresh...)
}

// majorityBehind is the same with a survivor that was cut off for a while before: much that
// was acknowledged has never come to it.
func majorityBehind(ctx context.Context, s *stage) error {
	leader, err := s.w.Leader(ctx)
	if err != nil {
		return err
	}
	followers := s.w.Others(leader)
	survivor, fresh := followers[s.rng.IntN(len(followers))], s.w.Spare
	heal, err := s.cutOff(ctx, survivor)
	if err != nil {
		return err
	}
	if err := errors.Join(s.wait(ctx, 3*time.Second), s.disksLost(ctx, s.w.Others(survivor)...)); err != nil {
		return errors.Join(err, heal())
	}
	s.abandon(ctx)
	if err := heal(); err != nil {
		return err
	}
	if err := s.withoutMajority(ctx, survivor); err != nil {
		return err
	}
	if err := s.recovers(ctx, survivor, nil); err != nil {
		return err
	}
	s.mustLose = true
	return s.threeAgain(ctx, survivor, fresh...)
}

// majorityOfFive loses three of five disks. Of the two survivors one had been cut off: the
// other one is chosen, and the command does not let anybody choose otherwise.
func majorityOfFive(ctx context.Context, s *stage) error {
	leader, err := s.w.Leader(ctx)
	if err != nil {
		return err
	}
	two := s.w.Others(leader)
	s.rng.Shuffle(len(two), func(i, j int) { two[i], two[j] = two[j], two[i] })
	old, newest, fresh := two[0], two[1], s.w.Spare[0]
	heal, err := s.cutOff(ctx, old)
	if err != nil {
		return err
	}
	if err := errors.Join(s.wait(ctx, 3*time.Second), s.disksLost(ctx, s.w.Others(old, newest)...)); err != nil {
		return errors.Join(err, heal())
	}
	s.abandon(ctx)
	if err := heal(); err != nil {
		return err
	}
	if err := s.withoutMajority(ctx, newest); err != nil {
		return err
	}
	if err := s.theNewest(ctx, newest, old); err != nil {
		return err
	}
	if err := s.recovers(ctx, newest, old); err != nil {
		return err
	}
	if err := s.cleared(ctx, old); err != nil {
		return err
	}
	return s.threeAgain(ctx, newest, old, fresh)
}

// cutOff cuts a node off from the others, and returns how to undo that.
func (s *stage) cutOff(ctx context.Context, n *world.Node) (func() error, error) {
	f, err := fault.Open(fault.Env{
		World: s.w, Use: plan.Use{Fault: "isolate", Role: plan.Follower, Pick: 1}, Victim: n, Rand: s.rng, Lost: s.lost, Back: s.back,
	})
	if err != nil {
		return nil, err
	}
	heal := func() error { return f.Heal(context.WithoutCancel(ctx)) }
	if err := f.Healthy(ctx); err != nil {
		return nil, err
	}
	if err := f.Inject(ctx); err != nil {
		return nil, errors.Join(err, heal())
	}
	if err := f.Bites(ctx); err != nil {
		return nil, errors.Join(err, heal())
	}
	return heal, nil
}

// disksLost takes the disks of nodes away at once.
func (s *stage) disksLost(ctx context.Context, nodes ...*world.Node) error {
	var wg sync.WaitGroup
	errs := make([]error, len(nodes))
	for _, n := range nodes {
		s.lost(n, history.LossKilled)
	}
	for i, n := range nodes {
		wg.Go(func() { errs[i] = n.LoseDisk(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// withoutMajority is what somebody sees before the page is opened.
func (s *stage) withoutMajority(ctx context.Context, survivor *world.Node) error {
	if err := s.status(ctx, survivor, "no quorum"); err != nil {
		return err
	}
	if _, err := s.runs(ctx, survivor, noQuorum, "setting", "set", "session.scope", "document"); err != nil {
		return err
	}
	if err := s.servesWithin(ctx, 10*time.Second, survivor); err != nil {
		return fmt.Errorf("without a quorum: %w", err)
	}
	s.saw("no quorum: the door of %s serves, changes exit with %d", survivor.Name, noQuorum)
	return nil
}

// indexOf is what usher status shows of a node's state.
func (s *stage) indexOf(ctx context.Context, n *world.Node) (uint64, error) {
	a, err := s.types(ctx, n, done, lineStatus, nil)
	if err != nil {
		return 0, err
	}
	m := statusIndex.FindStringSubmatch(a.Out)
	if m == nil {
		return 0, fmt.Errorf("usher status on %s shows no index:\n%s", n.Name, a.Out)
	}
	return strconv.ParseUint(m[1], 10, 64)
}

// theNewest chooses the survivor as the page says, and tries the wrong one.
func (s *stage) theNewest(ctx context.Context, newest, old *world.Node) error {
	a, err := s.indexOf(ctx, newest)
	if err != nil {
		return err
	}
	b, err := s.indexOf(ctx, old)
	if err != nil {
		return err
	}
	if a <= b {
		return fmt.Errorf("%s was cut off, and is at index %d; %s is at %d", old.Name, b, newest.Name, a)
	}
	if err := s.stops(ctx, old); err != nil {
		return err
	}
	refused, err := s.types(ctx, old, permanent, lineRecover, nil, "--yes", "--data-dir", old.Data())
	if err != nil {
		return err
	}
	if !strings.Contains(refused.Err, "newer state") {
		return fmt.Errorf("usher recover on the older survivor was refused for another reason:\n%s", refused.Err)
	}
	if err := s.stops(ctx, newest); err != nil {
		return err
	}
	var revisions []uint64
	for _, n := range []*world.Node{newest, old} {
		shown, err := s.types(ctx, n, asks, lineRecover, nil, "--data-dir", n.Data())
		if err != nil {
			return err
		}
		is, err := saidByRecover(shown.Err)
		if err != nil {
			return err
		}
		revisions = append(revisions, is.Revision)
	}
	if revisions[0] <= revisions[1] {
		return fmt.Errorf("usher recover shows revision %d on %s, and %d on %s, which was cut off", revisions[0], newest.Name, revisions[1], old.Name)
	}
	s.saw("%s is behind by %d revisions: usher recover shows it, and refuses there while %s answers", old.Name, revisions[0]-revisions[1], newest.Name)
	return errors.Join(s.starts(old), s.starts(newest))
}

// recovers makes the survivor a cluster of one, as the page says; other is one that answers.
func (s *stage) recovers(ctx context.Context, survivor, other *world.Node) error {
	if err := s.stops(ctx, survivor); err != nil {
		return err
	}
	own := []string{"--data-dir", survivor.Data()}
	before, err := s.types(ctx, survivor, asks, lineRecover, nil, own...)
	if err != nil {
		return err
	}
	if s.said, err = saidByRecover(before.Err); err != nil {
		return err
	}
	for _, cells := range cellsOf(before.Err, "OTHER SERVER") {
		if answers := other != nil && cells[0] == other.Name; len(cells) < 4 || (cells[3] == "yes") != answers {
			return fmt.Errorf("usher recover says of another server %q", cells)
		}
	}
	again, err := s.types(ctx, survivor, asks, lineRecover, nil, own...)
	if err != nil {
		return err
	}
	if same, err := saidByRecover(again.Err); err != nil || same != s.said {
		return fmt.Errorf("nobody agreed, and usher recover says something else then: %+v, %+v, %w", s.said, same, err)
	}
	if _, err := s.types(ctx, survivor, done, lineRecover, nil, append(own, "--yes")...); err != nil {
		return err
	}
	if err := s.starts(survivor); err != nil {
		return err
	}
	s.w.Members(survivor)
	if err := s.status(ctx, survivor, "1 of 1 reachable", "1 of 1 healthy"); err != nil {
		return err
	}
	revision, err := revisionOf(ctx, survivor)
	if err != nil {
		return fmt.Errorf("the first write after the recovery: %w", err)
	}
	if revision < s.said.Revision+skipped {
		return fmt.Errorf("revisions go on with %d after %d", revision, s.said.Revision)
	}
	s.saw("recovered from %s, which said: all after revision %d of %s is lost", survivor.Name, s.said.Revision, s.said.AsOf.Format(time.TimeOnly))
	return nil
}

// cleared clears a survivor that was not chosen.
func (s *stage) cleared(ctx context.Context, n *world.Node) error {
	defer n.Excuse()() // its agent is told that it was removed
	if err := s.stops(ctx, n); err != nil {
		return err
	}
	_, err := s.types(ctx, n, done, linePurge, nil, "--yes", "--data-dir", n.Data())
	return err
}

// threeAgain lets machines join, and looks through what the page says last.
func (s *stage) threeAgain(ctx context.Context, survivor *world.Node, fresh ...*world.Node) error {
	fresh = slices.Clone(fresh)
	token, err := s.types(ctx, survivor, done, lineJoinToken, nil)
	if err != nil {
		return err
	}
	if err := s.joins(token.Out, []*world.Node{survivor}, fresh...); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	if err := s.status(ctx, fresh[0], "3 of 3 reachable"); err != nil {
		return err
	}
	for _, line := range []string{lineHistory, lineTasks} {
		if _, err := s.types(ctx, survivor, done, line, nil); err != nil {
			return err
		}
	}
	s.saw("three servers again: %s, %s and %s", survivor.Name, fresh[0].Name, fresh[1].Name)
	return nil
}
