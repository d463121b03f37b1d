package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
)

// machine is this machine's part of a cluster, as far as commands need it.
type machine interface {
	HasIdentity(dataDir string) (bool, error)
	Init(ctx context.Context, cfg config.Config, clusterName string, now func() time.Time) (agent.InitResult, error)
	Join(ctx context.Context, cfg config.Config, o agent.JoinOptions) (identity.JoinAnswer, error)
	Open(cfg config.Config, o agent.Options) (running, error)
	Restore(ctx context.Context, cfg config.Config, o agent.RestoreOptions) (agent.InitResult, error)
	Recover(ctx context.Context, cfg config.Config, o agent.RecoverOptions) (agent.Recovery, error)
	// NodeID is the node that the data directory belongs to.
	NodeID(dataDir string) (peer.ID, error)
	Purge(dataDir string) error
}

// running is an agent that is open. Run works until its context ends.
type running interface {
	Run(ctx context.Context) error
	Ready() <-chan struct{}
	Stopping() <-chan struct{}
	ID() peer.ID
	Addrs() agent.Addrs
}

// systemMachine is the real one. What root writes it leaves to the user that the agent runs as.
type systemMachine struct{ version string }

func (systemMachine) HasIdentity(dataDir string) (bool, error) { return agent.HasIdentity(dataDir) }

func (systemMachine) Init(ctx context.Context, cfg config.Config, clusterName string, now func() time.Time) (agent.InitResult, error) {
	r, err := agent.Init(ctx, cfg, clusterName, now)
	return r, errors.Join(err, identity.GiveToOwner(cfg.DataDir))
}

func (m systemMachine) Join(ctx context.Context, cfg config.Config, o agent.JoinOptions) (identity.JoinAnswer, error) {
	o.Version = m.version
	a, err := agent.Join(ctx, cfg, o)
	return a, errors.Join(err, identity.GiveToOwner(cfg.DataDir))
}

func (m systemMachine) Open(cfg config.Config, o agent.Options) (running, error) {
	o.Version = m.version
	a, err := agent.New(cfg, o)
	if err != nil {
		return nil, err
	}
	return a, nil
}

func (systemMachine) Restore(ctx context.Context, cfg config.Config, o agent.RestoreOptions) (agent.InitResult, error) {
	r, err := agent.Restore(ctx, cfg, o)
	return r, errors.Join(err, identity.GiveToOwner(cfg.DataDir))
}

func (systemMachine) Recover(ctx context.Context, cfg config.Config, o agent.RecoverOptions) (agent.Recovery, error) {
	r, err := agent.Recover(ctx, cfg, o)
	return r, errors.Join(err, identity.GiveToOwner(cfg.DataDir))
}

func (systemMachine) NodeID(dataDir string) (peer.ID, error) {
	dir, err := identity.OpenDir(dataDir)
	if err != nil {
		return "", err
	}
	n, err := dir.Load()
	return n.Identity.ID, err
}

// Purge removes what an agent keeps in its data directory, and nothing else that
// may lie there. An agent that runs on it is an error.
func (systemMachine) Purge(dataDir string) error {
	if _, err := os.Stat(dataDir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	dir, err := identity.OpenDir(dataDir)
	if err != nil {
		return err
	}
	lock, err := dir.Lock()
	if err != nil {
		return err
	}
	err = dir.Purge()
	entries, readErr := os.ReadDir(dataDir)
	err = errors.Join(err, readErr)
	for _, e := range entries {
		if agentFile(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dataDir, e.Name())))
		}
	}
	if err = errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("purge %s: %w", dataDir, err)
	}
	return nil
}

// agentFile reports whether an agent keeps a file or directory of that name, beside
// its identity.
func agentFile(name string) bool {
	switch name {
	case "raft", "raft.recovered", "state.cache", "archive", adminTokenName, config.SocketName:
		return true
	}
	for _, prefix := range []string{".state.cache-", "raft.rolled-back-", "state.cache.rolled-back-"} { // half-written, set aside
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "state.cache.damaged"
}

// lostCertificate is the path of the node's certificate if it is missing where a node
// has run, or has been made. A join under way has none yet.
func lostCertificate(dataDir string) string {
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(dataDir, name))
		return err == nil
	}
	if path := filepath.Join(dataDir, "node.crt"); !there("node.crt") && (there("raft") || there("ca.pem") && !there("join.pending")) {
		return path
	}
	return ""
}

// isRemoved reports whether the cluster removed this node.
func isRemoved(err error) bool { return errors.Is(err, agent.ErrRemoved) }

// isDamaged reports whether the node's state lacks what the node had promised.
func isDamaged(err error) bool { return errors.Is(err, agent.ErrDamaged) }

// isRolledBack reports whether the cluster knows a later start of this node.
func isRolledBack(err error) bool { return errors.Is(err, agent.ErrRolledBack) }

// isPermanent reports whether starting again will not mend the error.
func isPermanent(err error) bool { return errors.Is(err, agent.ErrPermanent) }

// isHeld reports whether an agent runs on the data directory.
func isHeld(err error) bool {
	var locked *identity.LockedError
	return errors.As(err, &locked)
}
