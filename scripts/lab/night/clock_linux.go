package night

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/load"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// clockWithin is how far the time of a command may be from when its client wrote: what the
// leader corrects, and what is cut off.
const clockWithin = 5 * time.Second

// wrongClock sets the clock of whoever leads, and then that of another one; at
// last it asks that one to lead.
func wrongClock(ctx context.Context, s *stage) error {
	leader, err := s.w.Leader(ctx)
	if err != nil {
		return err
	}
	// Further ahead than an hour sessions are too old, and further back nobody would believe the
	// certificates of a young cluster.
	wrong := []time.Duration{time.Minute, 10 * time.Minute, 40 * time.Minute, -time.Minute, -10 * time.Minute, -40 * time.Minute}
	first := s.rng.IntN(3) // ahead: the state's time would follow at once
	ahead, other := wrong[first], wrong[(first+1+s.rng.IntN(len(wrong)-1))%len(wrong)]
	if err := s.clockOf(ctx, leader, ahead); err != nil {
		return err
	}
	follower := s.w.Others(leader)[s.rng.IntN(2)]
	if now, err := s.w.Leader(ctx); err != nil {
		return err
	} else if now == follower {
		follower = s.w.Others(leader, now)[0]
	}
	if err := s.clockOf(ctx, follower, other); err != nil {
		return err
	}
	if err := s.doesNotLead(ctx, follower, other); err != nil {
		return err
	}
	if err := s.stateTime(ctx); err != nil {
		return err
	}
	a, err := s.types(ctx, follower, done, lineTaskHistory, map[string]string{"NAME": load.TaskName(0)})
	if err == nil && len(cellsOf(a.Out, "DUE")) == 0 {
		err = fmt.Errorf("usher task history shows nothing:\n%s", a.Out)
	}
	return err
}

// clockOf sets a node's clock, sees that usher says so, and sets it right.
func (s *stage) clockOf(ctx context.Context, n *world.Node, ahead time.Duration) error {
	s.lost(n, history.LossUnknown)
	if err := n.SetClock(ahead); err != nil {
		return err
	}
	for _, o := range s.w.Nodes {
		if err := s.doctorSays(ctx, o, "clock"); err != nil {
			return err
		}
	}
	if err := s.wait(ctx, 3*time.Second); err != nil {
		return err
	}
	s.saw("the clock of %s was %s ahead: usher doctor says so on each node", n.Name, ahead)
	if err := n.SetClock(0); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	s.back(n)
	return nil
}

// doesNotLead asks a node whose clock is wrong to lead.
func (s *stage) doesNotLead(ctx context.Context, n *world.Node, ahead time.Duration) error {
	s.lost(n, history.LossUnknown)
	if err := n.SetClock(ahead); err != nil {
		return err
	}
	if err := s.wait(ctx, 3*time.Second); err != nil {
		return err
	}
	_, _ = n.Client.MoveCentral(ctx, n.Name) // whether it had the role for a moment is of no interest
	if err := world.Until(ctx, 30*time.Second, "another node leads", func(ctx context.Context) error {
		leader, err := s.w.Leader(ctx)
		if err == nil && leader == n {
			err = fmt.Errorf("%s leads, with its clock %s ahead", n.Name, ahead)
		}
		return err
	}); err != nil {
		return err
	}
	text, err := os.ReadFile(n.Log())
	if err != nil {
		return err
	}
	if !strings.Contains(string(text), "this node's clock is far from the others'") {
		return fmt.Errorf("the log of %s does not say that its clock is wrong", n.Name)
	}
	s.saw("%s, made central with its clock %s ahead, gave that up and its log says why", n.Name, ahead)
	if err := n.SetClock(0); err != nil {
		return err
	}
	if err := s.w.Whole(ctx, wholeWithin); err != nil {
		return err
	}
	s.back(n)
	return nil
}

// stateTime reads the times that the state gave to tokens: they never go back, and are about
// when their clients wrote.
func (s *stage) stateTime(ctx context.Context) error {
	var rows []admin.Token
	if err := each(ctx, s.w.Nodes[0].Client.Tokens, func(t admin.Token) { rows = append(rows, t) }); err != nil {
		return err
	}
	slices.SortFunc(rows, func(a, b admin.Token) int { return int(int64(a.Created) - int64(b.Created)) })
	for i := 1; i < len(rows); i++ {
		if rows[i].Born.Before(rows[i-1].Born) {
			return fmt.Errorf("the state's time went back: %s of revision %d is of %s, %s of %d of %s",
				rows[i].Name, rows[i].Created, rows[i].Born, rows[i-1].Name, rows[i-1].Created, rows[i-1].Born)
		}
	}
	born := map[string]time.Time{}
	for _, r := range rows {
		born[r.Name] = r.Born
	}
	n := 0
	for _, t := range s.ledger.all() {
		at, there := born[t.Name]
		if !t.OK || t.Kind != aToken || !there {
			continue
		}
		n++
		if at.Before(t.Begin.Add(-clockWithin)) || at.After(t.End.Add(clockWithin)) {
			return fmt.Errorf("the state's time was %s: %s", at.UTC().Format(time.DateTime), t)
		}
	}
	s.saw("the state's time never went back, and is right for %d tokens", n)
	return nil
}
