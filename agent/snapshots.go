package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/durable"
)

// Every server saves a snapshot by itself, so that each disk holds some, and whichever
// survives is enough. The setting snapshot.interval says how often, snapshot.keep how many
// of its own a server keeps. They are small, and only the recovery key opens them.
const (
	snapshotDirName  = "snapshots"
	snapshotSuffix   = ".usher-snapshot"
	snapshotTime     = "20060102T150405Z"
	snapshotRetry    = 10 * time.Minute // after a failure, or the interval if that is less
	snapshotFirst    = time.Minute      // after the start, so that a new node has state
	snapshotConfirm  = 5 * time.Second  // for a majority to say that the state is the newest
	snapshotTempMark = ".part"
)

// keeper saves snapshots to a directory.
type keeper struct {
	*Agent
	dir    string
	newest prometheus.Gauge
	failed prometheus.Counter
}

func newKeeper(a *Agent) *keeper {
	k := &keeper{Agent: a, dir: a.cfg.SnapshotDir,
		newest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_agent_snapshot_timestamp_seconds", Help: "When this server last saved a snapshot by itself; 0 before the first.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_agent_snapshot_failures_total", Help: "Snapshots that this server could not save by itself.",
		}),
	}
	if k.dir == "" {
		k.dir = filepath.Join(a.cfg.DataDir, snapshotDirName)
	}
	a.registry.MustRegister(k.newest, k.failed)
	return k
}

// run saves when it is time until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	wait := snapshotFirst
	for {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil
		}
		wait = k.turn(ctx)
	}
}

// snapshotLook is how often a keeper looks whether it is time: the interval may have been
// changed.
const snapshotLook = time.Minute

// turn saves if it is time, and says when to look again.
func (k *keeper) turn(ctx context.Context) time.Duration {
	interval := k.view().Duration("snapshot.interval")
	if interval == 0 || k.view().Cached() || k.view().Cluster() == nil {
		return snapshotLook
	}
	files, err := k.files()
	if last := newestBefore(files, k.now()); err == nil && !last.IsZero() {
		k.newest.Set(float64(last.Unix()))
		if left := last.Add(interval).Sub(k.now()); left > 0 && left <= interval {
			return min(left, snapshotLook)
		}
	}
	if err == nil {
		err = k.save(ctx)
	}
	if err == nil {
		err = k.prune(int(k.view().Int("snapshot.keep")))
	}
	k.tell(err)
	if err != nil {
		k.failed.Inc()
		k.log.Error().Err(err).Str("directory", k.dir).Msg("cannot save a snapshot")
		return min(snapshotRetry, interval)
	}
	return min(interval, snapshotLook)
}

// tell has the node's status show that snapshots cannot be saved, until one can.
func (k *keeper) tell(err error) {
	const about = "snapshots"
	if err == nil {
		k.notices.take(about)
		return
	}
	k.notices.keep(about, fmt.Sprintf("this node cannot save snapshots to %s: %v", k.dir, err), k.now())
}

// newestBefore is when the newest file was saved, without those of a clock that was ahead;
// zero for none.
func newestBefore(files []savedFile, now time.Time) time.Time {
	var at time.Time
	for _, f := range files {
		if !f.at.After(now) {
			at = f.at
		}
	}
	return at
}

// savedFile is a snapshot of this server's own.
type savedFile struct {
	path string
	at   time.Time
}

// files are those of this node, the oldest first. Names of others in the same directory
// are left alone.
func (k *keeper) files() ([]savedFile, error) {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	var out []savedFile
	for _, e := range entries {
		name, ours := strings.CutPrefix(e.Name(), k.prefix())
		stamp, whole := strings.CutSuffix(name, snapshotSuffix)
		if !ours || !whole {
			continue
		}
		if at, err := time.Parse(snapshotTime, stamp); err == nil {
			out = append(out, savedFile{filepath.Join(k.dir, e.Name()), at})
		}
	}
	slices.SortFunc(out, func(a, b savedFile) int { return a.at.Compare(b.at) })
	return out, nil
}

// prefix is what the names of this node's files begin with.
func (k *keeper) prefix() string { return k.self.Short() + "-" }

// save writes one; it has its name when it is whole and on the disk.
func (k *keeper) save(ctx context.Context) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	if err := k.sweep(); err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	rctx, cancel := context.WithTimeout(ctx, snapshotConfirm)
	_, unconfirmed := k.store.Read(rctx)
	cancel()
	path := filepath.Join(k.dir, k.prefix()+k.now().UTC().Format(snapshotTime)+snapshotSuffix)
	f, err := os.OpenFile(path+snapshotTempMark, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("save snapshot: %w", err)
	}
	err = k.writeSnapshot(f, unconfirmed == nil)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = durable.Rename(path+snapshotTempMark, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("save snapshot: %w", err), os.Remove(path+snapshotTempMark))
	}
	k.newest.Set(float64(k.now().Unix()))
	k.log.Info().Str("file", path).Bool("newest", unconfirmed == nil).Msg("snapshot saved")
	return nil
}

// sweep removes what a crash cut short.
func (k *keeper) sweep() error {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), k.prefix()) && strings.HasSuffix(e.Name(), snapshotSuffix+snapshotTempMark) {
			if err := os.Remove(filepath.Join(k.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// prune removes the oldest, so that keep stay. Those that a clock which was ahead has named
// count as the oldest: when they are from nobody knows.
func (k *keeper) prune(keep int) error {
	files, err := k.files()
	if err != nil {
		return err
	}
	now := k.now()
	if ahead := slices.IndexFunc(files, func(f savedFile) bool { return f.at.After(now) }); ahead >= 0 {
		files = slices.Concat(files[ahead:], files[:ahead])
	}
	for len(files) > keep {
		if err := os.Remove(files[0].path); err != nil {
			return fmt.Errorf("remove an old snapshot: %w", err)
		}
		files = files[1:]
	}
	return nil
}
