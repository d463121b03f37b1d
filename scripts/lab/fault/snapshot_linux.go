package fault

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/scripts/lab/history"
	"github.com/ushercluster/usher/scripts/lab/world"
)

// snapshotTransfer keeps a follower away until the others have dropped from their logs
// what it lacks: then it needs a snapshot.
type snapshotTransfer struct {
	Env
	last  uint64 // entry that the victim has
	began time.Time
}

const (
	bigWriters = 24
	bigWithin  = 3 * time.Minute
)

func (f *snapshotTransfer) Healthy(ctx context.Context) error { return running(ctx, f.World.Nodes...) }

func (f *snapshotTransfer) Inject(ctx context.Context) error {
	f.Lost(f.Victim, history.LossRestarted)
	s, err := f.Victim.Client.Status(ctx, admin.Stale())
	if err != nil {
		return err
	}
	if err := f.Victim.Stop(ctx); err != nil {
		return err
	}
	f.last, f.began = s.Raft.LastIndex, time.Now()
	bounded, cancel := context.WithTimeout(ctx, bigWithin)
	defer cancel()
	var wg sync.WaitGroup
	for i := range bigWriters {
		wg.Go(func() { f.write(bounded, i, cancel) })
	}
	wg.Wait()
	return ctx.Err()
}

// write writes much until every other node has a snapshot that is far beyond the
// victim's log. What it sets has no effect here.
func (f *snapshotTransfer) write(ctx context.Context, i int, enough context.CancelFunc) {
	others := f.others()
	for n := 0; ctx.Err() == nil; n++ {
		client := others[(i+n)%len(others)].Client
		_, _ = client.ImportSettings(ctx, admin.Settings{Settings: map[string]string{
			"door.trusted_networks": networks(i, n), "door.document_patterns": patterns(i, n),
		}}) // what is refused or lost is written once more
		if n%20 == 0 && f.Bites(ctx) == nil {
			enough()
		}
	}
}

// networks is a long value of a setting, different each time: networks for documentation.
func networks(i, n int) string {
	var out []string
	for k := range 90 {
		out = append(out, fmt.Sprintf("2001:db8:%x:%x::/64", (i*131+n)%65536, k+1))
	}
	return strings.Join(out, ",")
}

func patterns(i, n int) string {
	out := []string{"/doc/{document}"}
	for k := range 60 {
		out = append(out, fmt.Sprintf("/laboratory/%d/%d/%d/{document}", i, n, k))
	}
	return strings.Join(out, ",")
}

// Bites: all others have a snapshot of after the victim went, with more between than they
// keep in their logs before one.
func (f *snapshotTransfer) Bites(context.Context) error {
	for _, o := range f.others() {
		index, at, err := newest(o)
		if err != nil {
			return err
		}
		if index <= f.last+mostTrailing || at.Before(f.began) {
			return fmt.Errorf("the newest snapshot of %s ends at %d, and %s has %d entries", o.Name, index, f.Victim.Name, f.last)
		}
	}
	return nil
}

// mostTrailing is more entries than a quarter of the budget holds when each is as large as
// ours: the log before a snapshot is no longer.
const mostTrailing = 3000

// newest is the last entry of a node's newest snapshot, and when it was made. Snapshots are
// in directories called TERM-INDEX-MILLISECONDS.
func newest(n *world.Node) (uint64, time.Time, error) {
	entries, err := os.ReadDir(filepath.Join(n.Data(), "raft", "snapshots"))
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("list the snapshots of %s: %w", n.Name, err)
	}
	var index uint64
	var at time.Time
	for _, e := range entries {
		parts := strings.Split(e.Name(), "-")
		if len(parts) != 3 {
			continue // one that is being written
		}
		i, err1 := strconv.ParseUint(parts[1], 10, 64)
		ms, err2 := strconv.ParseInt(parts[2], 10, 64)
		if err1 == nil && err2 == nil && i > index {
			index, at = i, time.UnixMilli(ms)
		}
	}
	return index, at, nil
}

// Heal starts the victim and waits until it has a snapshot that it cannot have made itself.
func (f *snapshotTransfer) Heal(ctx context.Context) error {
	if err := startAll(f.Victim); err != nil || f.last == 0 {
		return err
	}
	err := world.Until(ctx, time.Minute, "the follower has a snapshot of the others", func(context.Context) error {
		index, at, err := newest(f.Victim)
		if err == nil && (index <= f.last || at.Before(f.began)) {
			err = errors.New("it has none")
		}
		return err
	})
	return errors.Join(err, world.Until(ctx, 20*time.Second, "the settings are as before", func(ctx context.Context) error {
		for _, key := range []string{"door.trusted_networks", "door.document_patterns"} {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, err := f.others()[0].Client.UnsetSetting(ctx, key)
			cancel()
			if err != nil {
				return err
			}
		}
		return nil
	}))
}
