package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/fsm"
)

// RestoreOptions are what Restore needs beside the configuration.
type RestoreOptions struct {
	From        io.Reader // a snapshot
	Key         identity.RecoveryKey
	ClusterName string // "" is the snapshot's
	By          string // user who asked, for the audit
	Now         func() time.Time
}

// Restore makes a cluster, with this machine as its first node, that goes on with the
// settings, tasks, tokens, secrets and history of a snapshot. It is another cluster than
// the one of the snapshot, with a UUID and a CA of its own: machines of the old one that
// come back find no way into it, and its machines none into the old one. The recovery key
// stays. It refuses where a node exists; a try that was cut short leaves no identity.
func Restore(_ context.Context, cfg config.Config, o RestoreOptions) (InitResult, error) {
	dir, lock, err := emptyDir(cfg)
	if err != nil {
		return InitResult{}, err
	}
	defer lock.Close()
	advertise, err := advertiseOf(cfg, cfg.Cluster.Bind)
	if err != nil {
		return InitResult{}, permanent(err)
	}
	s, err := OpenSnapshot(o.From, o.Key)
	if err != nil {
		return InitResult{}, fmt.Errorf("restore: %w", err)
	}
	old := s.State.View().Cluster()
	if old == nil {
		return InitResult{}, fmt.Errorf("restore: %w", fsm.ErrNoState)
	}
	if o.ClusterName == "" {
		o.ClusterName = old.Name
	}
	now := o.Now()
	f, err := found(dir, o.ClusterName, now)
	if err != nil {
		return InitResult{}, fmt.Errorf("restore: %w", err)
	}
	f.node.Name, f.node.Addr = cfg.Node.Name, advertise
	f.recoveryPublic, f.tokenName = old.RecoveryPublic, "restored-"+strings.ToLower(now.UTC().Format("20060102t150405"))
	state, err := f.refound(s, o.By, now)
	if err != nil {
		return InitResult{}, fmt.Errorf("restore: %w", err)
	}
	if err := f.write(cfg.DataDir, dir, state); err != nil {
		return InitResult{}, fmt.Errorf("restore: %w", err)
	}
	r := f.result(cfg.DataDir, now)
	r.RecoveryKey = "" // the one that was given
	return r, nil
}

// refound makes the state of the new cluster out of the old one's.
func (f *founding) refound(s *Snapshot, by string, now time.Time) (*fsm.Snapshot, error) {
	cmd, err := f.command(now)
	if err != nil {
		return nil, err
	}
	kept, err := s.secrets(f.dataKey, 1)
	if err != nil {
		return nil, err
	}
	cmd.Secrets = onePerName(append(kept, cmd.Secrets...)) // cookie keys of old go before the new one
	actor := fsm.Actor{Kind: fsm.ActorLocal, ID: by, Via: f.node.ID}
	if err := s.State.Refound(cmd, fsm.StampOf(now), actor); err != nil {
		return nil, err
	}
	return s.State.Snapshot()
}

// onePerName keeps the first of each name.
func onePerName(all []fsm.Secret) []fsm.Secret {
	var out []fsm.Secret
	seen := map[string]bool{}
	for _, s := range all {
		if !seen[s.Name] {
			seen[s.Name] = true
			out = append(out, s)
		}
	}
	return out
}

// emptyDir takes a data directory in which no node is.
func emptyDir(cfg config.Config) (*identity.Dir, io.Closer, error) {
	dir, err := identity.OpenDir(cfg.DataDir)
	if err != nil {
		return nil, nil, permanent(err)
	}
	lock, err := dir.Lock()
	if err != nil {
		return nil, nil, err
	}
	switch _, err := dir.Load(); {
	case err == nil:
		err = fmt.Errorf("in %s: %w", cfg.DataDir, identity.ErrHasIdentity)
		return nil, nil, errors.Join(permanent(err), lock.Close())
	case !errors.Is(err, identity.ErrNoIdentity):
		return nil, nil, errors.Join(permanent(err), lock.Close())
	}
	return dir, lock, nil
}
