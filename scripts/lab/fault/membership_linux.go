package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// membership takes a node out of the cluster, by an operator or by itself, and lets a
// fresh one join under its name.
type membership struct {
	Env
	id     string // of the node that goes
	pardon func()
}

func (f *membership) Healthy(ctx context.Context) error {
	n, err := f.row(ctx)
	f.id = string(n.ID)
	return errors.Join(err, running(ctx, f.Victim))
}

func (f *membership) row(ctx context.Context) (admin.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return f.others()[0].Client.Node(ctx, f.Victim.Name)
}

func (f *membership) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossRestarted)
	f.pardon = f.Victim.Excuse()
	if f.Rand.IntN(2) == 0 {
		return f.Victim.Leave(ctx)
	}
	return world.Until(ctx, 20*time.Second, "the node is removed", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		err := f.someOther().Client.RemoveNode(ctx, f.Victim.Name, false)
		var p *admin.Problem
		if errors.As(err, &p) && p.Status == 404 {
			return nil // an answer was lost before
		}
		return err
	})
}

// Bites waits for the end of the agent, which nobody else ends, and for its row's.
func (f *membership) Bites(ctx context.Context) error {
	if err := world.Until(ctx, 15*time.Second, "the agent that was removed ends", func(context.Context) error {
		if f.Victim.Running() {
			return fmt.Errorf("%s runs", f.Victim.Name)
		}
		return nil
	}); err != nil {
		return err
	}
	n, err := f.row(ctx)
	var p *admin.Problem
	switch {
	case errors.As(err, &p) && (p.Status == 404 || p.Status == 410):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("%s is a member still, as %s", f.Victim.Name, n.ID)
}

func (f *membership) Heal(ctx context.Context) error {
	if f.id == "" || f.pardon == nil {
		return nil
	}
	defer f.pardon()
	if err := f.Victim.Kill(ctx); err != nil {
		return err
	}
	if err := empty(f.Victim.Data()); err != nil {
		return err
	}
	var token admin.NewJoinToken
	if err := world.Until(ctx, 20*time.Second, "there is a join token", func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		token, err = f.someOther().Client.CreateJoinToken(ctx, admin.JoinTokenSpec{Uses: 1, TTL: admin.Duration(time.Hour)})
		return err
	}); err != nil {
		return err
	}
	f.id = ""
	f.Victim.JoinAnew(token.Token, f.others())
	return f.Victim.Start()
}

// empty removes everything in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}
