package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

const (
	certificateLife = 397 * 24 * time.Hour
	firstJoinUses   = 10
	firstJoinTTL    = 24 * time.Hour
	defaultWeight   = 100
)

// InitResult is what a new cluster's founder must know. The tokens and the recovery
// key exist nowhere else in the clear.
type InitResult struct {
	ClusterID   string
	ClusterName string
	NodeID      peer.ID
	NodeName    string
	Advertise   string
	DataDir     string
	AdminToken  string
	JoinToken   string
	JoinUses    int
	JoinExpires time.Time
	RecoveryKey string
}

// Init makes a cluster with this machine as its first node: CA, certificate, sealed
// secrets, first tokens, all written as the initial state, so that the first start
// needs nothing more. It refuses where a node exists. A try that was cut short
// leaves no identity, and the next one begins anew.
func Init(_ context.Context, cfg config.Config, clusterName string, now func() time.Time) (InitResult, error) {
	if !peer.ValidName(clusterName) {
		return InitResult{}, permanent(fmt.Errorf("cluster name %q: use 1 to 63 characters of a-z, 0-9, '-' and '.'", clusterName))
	}
	advertise, err := advertiseOf(cfg, cfg.Cluster.Bind)
	if err != nil {
		return InitResult{}, permanent(err)
	}
	dir, lock, err := emptyDir(cfg)
	if err != nil {
		return InitResult{}, err
	}
	defer lock.Close()
	f, err := found(dir, clusterName, now())
	if err != nil {
		return InitResult{}, fmt.Errorf("init: %w", err)
	}
	f.node.Name, f.node.Addr = cfg.Node.Name, advertise
	cmd, err := f.command(now())
	if err != nil {
		return InitResult{}, fmt.Errorf("init: %w", err)
	}
	state, err := firstState(cmd, now())
	if err != nil {
		return InitResult{}, fmt.Errorf("init: %w", err)
	}
	if err := f.write(cfg.DataDir, dir, state); err != nil {
		return InitResult{}, fmt.Errorf("init: %w", err)
	}
	return f.result(cfg.DataDir, now()), nil
}

func (f *founding) result(dataDir string, now time.Time) InitResult {
	return InitResult{
		ClusterID: f.uuid, ClusterName: f.name, NodeID: f.node.ID, NodeName: f.node.Name,
		Advertise: f.node.Addr, DataDir: dataDir, AdminToken: f.admin.Reveal(), JoinToken: f.join.Reveal(),
		JoinUses: firstJoinUses, JoinExpires: now.Add(firstJoinTTL).UTC(), RecoveryKey: f.recovery.Reveal(),
	}
}

// founding is everything that is drawn when a cluster is made.
type founding struct {
	uuid     string
	name     string
	pending  identity.Pending
	identity identity.Node
	ca       *identity.CA
	dataKey  identity.DataKey
	recovery identity.RecoveryKey
	admin    identity.APIToken
	join     identity.JoinToken
	node     fsm.Node

	recoveryPublic []byte // of recovery, or of an older cluster's
	tokenName      string // of admin
}

func found(dir *identity.Dir, name string, now time.Time) (*founding, error) {
	f := &founding{name: name, tokenName: "first-admin"}
	var err error
	if f.pending, err = dir.Prepare("", now); err != nil {
		return nil, err
	}
	if f.uuid, err = identity.NewUUID(rand.Reader); err != nil {
		return nil, err
	}
	if f.ca, err = identity.NewCA(f.uuid, name, now); err != nil {
		return nil, err
	}
	if f.dataKey, err = identity.NewDataKey(rand.Reader); err != nil {
		return nil, err
	}
	if f.recovery, err = identity.NewRecoveryKey(rand.Reader); err != nil {
		return nil, err
	}
	f.recoveryPublic = f.recovery.Public()
	if f.admin, err = identity.NewAPIToken(rand.Reader); err != nil {
		return nil, err
	}
	if f.join, err = identity.NewJoinToken(rand.Reader, f.ca.Fingerprint()); err != nil {
		return nil, err
	}
	csr, err := f.pending.CSR()
	if err != nil {
		return nil, err
	}
	id := transport.Identity{Cluster: f.uuid, Class: peer.ClassServer, ID: f.pending.ID}
	leaf, err := f.ca.Issue(csr, id, now, certificateLife)
	if err != nil {
		return nil, err
	}
	if f.identity, err = f.pending.Node([][]byte{leaf, f.ca.CertDER()}, [][]byte{f.ca.CertDER()}); err != nil {
		return nil, err
	}
	hash, err := f.pending.KeyHash()
	if err != nil {
		return nil, err
	}
	f.node = fsm.Node{
		ID: f.pending.ID, Class: peer.ClassServer, Weight: defaultWeight, FeatureLevel: fsm.FeatureLevel,
		SealKey: f.pending.SealKey.Public(), KeyHash: hash[:],
	}
	return f, nil
}

// command is the first command of the cluster.
func (f *founding) command(now time.Time) (*fsm.InitCluster, error) {
	wrapped, err := identity.Wrap(f.pending.SealKey.Public(), f.dataKey, wrapInfo(1))
	if err != nil {
		return nil, err
	}
	cookie := make([]byte, 32)
	if _, err := rand.Read(cookie); err != nil {
		return nil, err
	}
	caKey, err := seal(f.dataKey, 1, secretCAKey, f.ca.KeyDER())
	if err != nil {
		return nil, err
	}
	cookieKey, err := seal(f.dataKey, 1, secretCookieKey+"0001", cookie)
	if err != nil {
		return nil, err
	}
	adminHash, joinHash := f.admin.Hash(), f.join.Hash()
	return &fsm.InitCluster{
		UUID: f.uuid, Name: f.name, Root: f.ca.CertDER(), RecoveryPublic: f.recoveryPublic, Node: f.node,
		JoinToken: fsm.JoinToken{
			ID: f.join.ID(), Hash: joinHash[:], Uses: firstJoinUses,
			Expires: fsm.StampOf(now.Add(firstJoinTTL)), By: "init",
		},
		Token:   fsm.Token{ID: f.admin.ID(), Name: f.tokenName, Hash: adminHash[:], Role: fsm.RoleAdmin, By: "init"},
		DataKey: fsm.DataKey{ID: 1, Wraps: []fsm.Wrap{{Node: f.node.ID, Sealed: wrapped}}},
		Secrets: []fsm.Secret{caKey, cookieKey},
	}, nil
}

// write puts the initial state and then the identity on disk. The identity comes
// last: without it there is no node, whatever else is there.
func (f *founding) write(dataDir string, dir *identity.Dir, state *fsm.Snapshot) error {
	raftDir := filepath.Join(dataDir, raftDirName)
	if err := os.RemoveAll(raftDir); err != nil { // of a try that was cut short
		return fmt.Errorf("clear %s: %w", raftDir, err)
	}
	stores, err := consensus.OpenStores(raftDir, zerolog.Nop())
	if err != nil {
		return err
	}
	if err := errors.Join(stores.Bootstrap(string(f.node.ID), state), stores.Close()); err != nil {
		return err
	}
	return dir.Save(f.identity)
}

// firstState applies the first command to an empty state.
func firstState(cmd *fsm.InitCluster, now time.Time) (*fsm.Snapshot, error) {
	b, err := fsm.Encode(cmd)
	if err != nil {
		return nil, err
	}
	var id fsm.CommandID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	entry, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(now), Items: []fsm.Item{{ID: id, Command: b}}})
	if err != nil {
		return nil, err
	}
	state := fsm.New(fsm.Options{})
	results, err := state.Apply(entry)
	if err != nil {
		return nil, err
	}
	if err := results[0].Err(); err != nil {
		return nil, permanent(err)
	}
	return state.Snapshot()
}
