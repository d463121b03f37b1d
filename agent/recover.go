package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/durable"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// RecoverOptions are what Recover needs beside the configuration.
type RecoverOptions struct {
	Network transport.Network // nil: the system's
	Now     func() time.Time  // nil: time.Now
	By      string            // user who asked, for the audit
	// Ignore are servers, by name or ID, that are not counted even if something answers
	// at their address.
	Ignore []string
	// Confirm is asked before anything is changed; its error ends it.
	Confirm func(Recovery) error
}

// Recovery is what a survivor knows, and what becomes of it.
type Recovery struct {
	Cluster   string // its name
	Node      string // this one, by name
	Revision  uint64
	AsOf      time.Time // of the last command that came here
	LastIndex uint64
	LastTerm  uint64
	Voters    int
	Others    []OtherServer
	// Backup is the directory where the state goes as it was found.
	Backup string
	// Finished means that an earlier recovery had been cut short between its last two
	// steps, and that this one took them.
	Finished bool
}

// OtherServer is what was found of another server of the cluster.
type OtherServer struct {
	ID       peer.ID
	Name     string
	Addr     string
	Voter    bool
	Answers  bool   // something listens at its address, and it is not ignored
	Revision uint64 // that it has, when it proved who it is
	// Where its log ends, when it proved who it is; entries behind Revision may have been
	// acknowledged.
	LastIndex, LastTerm uint64
	Error               string // otherwise

	disowns bool // it says that the cluster has removed this node
}

// ErrQuorumAnswers means that the cluster is not lost.
var ErrQuorumAnswers = permanent(errors.New("a majority of the cluster's voters answers without this node"))

// ErrNewerSurvivor means that another server that answers has more of the state.
var ErrNewerSurvivor = permanent(errors.New("another survivor has a newer state"))

// ErrDisowned means that another server goes on without this one.
var ErrDisowned = permanent(errors.New("the cluster goes on elsewhere, and has removed this node"))

const (
	recoveredName = "raft.recovered" // the new state, until it takes its place
	recoverAsk    = 3 * time.Second
)

// Recover makes this node, whose agent is stopped, a cluster of one, with all that its
// disk holds of the state. Every other node is removed for good. The directory as it was
// found stays as a backup. A try that was cut short is finished by the next.
//
// It refuses with ErrQuorumAnswers while enough other voters answer to go on without it,
// with ErrNewerSurvivor while one answers that would lose less, and with ErrDisowned when one
// was recovered already.
func Recover(ctx context.Context, cfg config.Config, o RecoverOptions) (Recovery, error) {
	if o.Network == nil {
		o.Network = transport.System{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if _, err := os.Stat(cfg.DataDir); err != nil { // OpenDir would make it
		return Recovery{}, permanent(fmt.Errorf("recover: %w", err))
	}
	dir, err := identity.OpenDir(cfg.DataDir)
	if err != nil {
		return Recovery{}, permanent(err)
	}
	lock, err := dir.Lock()
	if err != nil {
		return Recovery{}, permanent(err)
	}
	defer lock.Close()
	node, err := dir.Load()
	if err != nil {
		return Recovery{}, permanent(err)
	}
	if done, err := finishRecovery(cfg.DataDir); done || err != nil {
		return Recovery{Finished: done}, err
	}
	survivor, err := readSurvivor(cfg.DataDir)
	if err != nil {
		return Recovery{}, err
	}
	r, err := describe(survivor, node.Identity.ID)
	if err != nil {
		return Recovery{}, permanent(err)
	}
	if err := r.knows(o.Ignore); err != nil {
		return r, permanent(err)
	}
	r.Backup = backupName(cfg.DataDir, o.Now())
	if err := r.askOthers(ctx, node, survivor, o); err != nil {
		return r, err
	}
	if r.answering() > r.Voters/2 {
		return r, ErrQuorumAnswers
	}
	for _, other := range r.Others {
		switch {
		case other.disowns:
			return r, fmt.Errorf("%w: %s says so", ErrDisowned, other.Name)
		case other.newerThan(r):
			return r, fmt.Errorf("%w: the log of %s ends at index %d of term %d, this node's at %d of %d",
				ErrNewerSurvivor, other.Name, other.LastIndex, other.LastTerm, r.LastIndex, r.LastTerm)
		}
	}
	if err := o.Confirm(r); err != nil {
		return r, err
	}
	by := fsm.Actor{Kind: fsm.ActorLocal, ID: o.By, Via: node.Identity.ID}
	if _, err := survivor.State.Survive(node.Identity.ID, fsm.StampOf(o.Now()), by); err != nil {
		return r, fmt.Errorf("recover: %w", err)
	}
	return r, r.put(cfg.DataDir, node.Identity.ID, survivor)
}

func readSurvivor(dataDir string) (consensus.Survivor, error) {
	stores, err := openStores(dataDir, zerolog.Nop())
	if err != nil {
		return consensus.Survivor{}, err
	}
	s, err := stores.Survivor()
	return s, errors.Join(err, stores.Close())
}

// describe says what a survivor knows.
func describe(s consensus.Survivor, self peer.ID) (Recovery, error) {
	v := s.State.View()
	own := v.Node(self)
	if v.Cluster() == nil || own == nil {
		return Recovery{}, errors.New("the state on this disk does not know this node: it never came to be a member; recover on another server, or restore a snapshot")
	}
	r := Recovery{
		Cluster: v.Cluster().Name, Node: own.Name, Revision: v.Revision(), AsOf: v.At(),
		LastIndex: s.LastIndex, LastTerm: s.LastTerm, Voters: len(s.Voters),
	}
	for _, n := range v.Nodes() {
		if n.ID != self && n.Class == peer.ClassServer {
			r.Others = append(r.Others, OtherServer{ID: n.ID, Name: n.Name, Addr: n.Addr, Voter: slices.Contains(s.Voters, n.ID)})
		}
	}
	return r, nil
}

// newerThan compares as Raft does (its paper, 5.4.1): of two logs the one with the later term
// at its end has all that was acknowledged, and of two with the same the longer one.
func (s *OtherServer) newerThan(r Recovery) bool {
	return s.LastTerm > r.LastTerm || s.LastTerm == r.LastTerm && s.LastIndex > r.LastIndex || s.Revision > r.Revision
}

// knows refuses names that no other server has: a mistyped one would count as answering.
func (r *Recovery) knows(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(r.Others, func(s OtherServer) bool { return name == s.Name || name == string(s.ID) }) {
			return fmt.Errorf("no other server is called %s", name)
		}
	}
	return nil
}

func (r *Recovery) answering() int {
	n := 0
	for _, o := range r.Others {
		if o.Voter && o.Answers {
			n++
		}
	}
	return n
}

// askOthers finds out who of the others is there.
func (r *Recovery) askOthers(ctx context.Context, node identity.Node, s consensus.Survivor, o RecoverOptions) error {
	ctx, cancel := context.WithTimeout(ctx, recoverAsk)
	defer cancel()
	creds := transport.NewCredentials(s.State.View().Removed, o.Now)
	if err := creds.Set(node.TLSCertificate(), node.Roots); err != nil {
		return permanent(err)
	}
	port, err := transport.Open(ctx, transport.Config{Network: o.Network, Addr: "127.0.0.1:0", Credentials: creds, Log: zerolog.Nop()})
	if err != nil {
		return fmt.Errorf("ask the other servers: %w", err)
	}
	defer port.Close()
	ask := admin.NewForwarder(func(ctx context.Context, id peer.ID) (net.Conn, error) {
		return port.Dial(ctx, transport.Target{ID: id, Addr: s.State.View().Node(id).Addr}, transport.ProtoAPI)
	}, nil)
	defer ask.Close()
	var wg sync.WaitGroup
	for i := range r.Others {
		other := &r.Others[i]
		if slices.Contains(o.Ignore, other.Name) || slices.Contains(o.Ignore, string(other.ID)) {
			other.Error = "ignored"
			continue
		}
		wg.Go(func() { other.look(ctx, ask, o.Network, port, node.Identity.ID) })
	}
	wg.Wait()
	return nil
}

// look asks one server. Whoever listens at its address counts as the server, even if it
// does not prove it: our own certificate may be too old to ask.
func (s *OtherServer) look(ctx context.Context, ask *admin.Forwarder, nw transport.Network, port *transport.Port, self peer.ID) {
	b, err := ask.Boot(ctx, s.ID)
	if err == nil {
		s.Answers, s.Revision, s.LastIndex, s.LastTerm = true, b.Revision, b.LastIndex, b.LastTerm
		return
	}
	c, refused := nw.DialContext(ctx, "tcp", s.Addr)
	if refused != nil {
		s.Error = refused.Error() // says it in fewer words
		return
	}
	c.Close()
	s.Answers, s.Error = true, err.Error()
	if c, err = port.Dial(ctx, transport.Target{Addr: s.Addr}, transport.ProtoJoin); err != nil {
		return
	}
	defer c.Close()
	if s.disowns, err = identity.AskStanding(ctx, c, self); err == nil && s.disowns {
		s.Error = "it says that this node was removed"
	}
}

// put writes the new state beside the old one, and then lets it take its place.
func (r *Recovery) put(dataDir string, self peer.ID, s consensus.Survivor) error {
	next := filepath.Join(dataDir, recoveredName)
	if err := os.RemoveAll(next); err != nil { // of a try that was cut short
		return fmt.Errorf("recover: %w", err)
	}
	stores, err := consensus.OpenStores(next, zerolog.Nop())
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := errors.Join(stores.GoOn(self, s), stores.Close()); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := durable.SyncDir(next); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := os.Mkdir(r.Backup, 0o700); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := moveInto(r.Backup, filepath.Join(dataDir, cacheFileName)); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := moveInto(r.Backup, filepath.Join(dataDir, raftDirName)); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	_, err = finishRecovery(dataDir)
	return err
}

// backupName is a directory that is not there yet.
func backupName(dataDir string, now time.Time) string {
	name := filepath.Join(dataDir, "before-recovery-"+now.UTC().Format("20060102T150405"))
	for n, path := 2, name; ; n++ {
		if _, err := os.Lstat(path); err != nil {
			return path
		}
		path = name + "-" + strconv.Itoa(n)
	}
}

// moveInto moves a file that may not be there.
func moveInto(dir, path string) error {
	err := durable.Rename(path, filepath.Join(dir, filepath.Base(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// finishRecovery lets a recovered state take the place of the old one, if that has left
// it already. There is no moment without one of the two.
func finishRecovery(dataDir string) (done bool, err error) {
	if unfinished, err := recoveryUnfinished(dataDir); !unfinished || err != nil {
		return false, err
	}
	if err := durable.Rename(filepath.Join(dataDir, recoveredName), filepath.Join(dataDir, raftDirName)); err != nil {
		return false, fmt.Errorf("finish the recovery: %w", err)
	}
	return true, nil
}

// recoveryUnfinished reports whether a recovery was cut short right before its end.
func recoveryUnfinished(dataDir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dataDir, raftDirName))
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	_, err = os.Stat(filepath.Join(dataDir, recoveredName))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
