package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// rolledBack copies the data directory of a node that is stopped, lets the node go on for a
// while, and puts the copy in place. The agent has to notice at its start.
type rolledBack struct {
	Env
	pardon func()
}

func (f *rolledBack) copy() string { return f.Victim.Data() + ".copy" }

func (f *rolledBack) Healthy(ctx context.Context) error { return running(ctx, f.Victim) }

func (f *rolledBack) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossRestarted)
	f.pardon = f.Victim.Excuse() // it may end once more before it knows
	if err := f.Victim.Stop(ctx); err != nil {
		return err
	}
	// With the modes: an agent does not start on files that others may read. And onto the
	// disk: a power cut that comes later is to lose what agents have not synced, not this.
	for _, args := range [][]string{{"cp", "-a", f.Victim.Data(), f.copy()}, {"sync", "--file-system", f.copy()}} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("copy the data directory: %s: %w: %s", args[0], err, out)
		}
	}
	if err := f.Victim.Start(); err != nil {
		return err
	}
	if err := f.World.Whole(ctx, time.Minute); err != nil {
		return err
	}
	sleep(ctx, f.between(500*time.Millisecond, 3*time.Second)) // the clients write
	if err := f.Victim.Kill(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(f.Victim.Data()); err != nil {
		return err
	}
	if err := os.Rename(f.copy(), f.Victim.Data()); err != nil {
		return err
	}
	return f.Victim.Start()
}

// Bites waits until the agent has set its old state aside.
func (f *rolledBack) Bites(ctx context.Context) error {
	return world.Until(ctx, 30*time.Second, "the agent notices", func(context.Context) error {
		aside, err := filepath.Glob(filepath.Join(f.Victim.Data(), "raft.rolled-back-*"))
		if err == nil && len(aside) == 0 {
			err = errors.New("no old state was set aside")
		}
		return err
	})
}

// Heal removes the copy that the agent made, as an operator does at some time.
func (f *rolledBack) Heal(context.Context) error {
	if f.pardon != nil {
		defer f.pardon()
	}
	aside, err := filepath.Glob(filepath.Join(f.Victim.Data(), "raft.rolled-back-*"))
	for _, dir := range append(aside, f.copy()) {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return errors.Join(err, startAll(f.Victim))
}
