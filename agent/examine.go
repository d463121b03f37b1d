package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/doctor/probe"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// ExamineOptions are what surrounds an examination from outside. The zero value is the
// real machine.
type ExamineOptions struct {
	Network transport.Network // nil: the system's
	Now     func() time.Time  // nil: time.Now
}

const offline = "no agent answers"

// Examine finds out about a node whose agent does not answer, from its configuration and
// its data directory. It takes no lock and changes nothing; a few blocks are written to a
// file without a name, to see how long that takes. It takes no longer than ctx, and at
// most eight seconds.
func Examine(ctx context.Context, cfg config.Config, o ExamineOptions) doctor.Facts {
	if o.Network == nil {
		o.Network = transport.System{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, cancel := context.WithTimeout(ctx, examineBound)
	defer cancel()
	local, stop := context.WithTimeout(ctx, localBound)
	defer stop()
	m := &probe.Machine{Dir: cfg.DataDir}
	f := doctor.Facts{Now: o.Now(), Offline: offline}
	f.Address = addressFacts(advertiseOf(cfg, cfg.Cluster.Bind))
	var all sync.WaitGroup
	all.Go(func() {
		f.Dir = m.Directory(local)
		f.Dir.Unfinished, _ = recoveryUnfinished(cfg.DataDir) // what cannot be read is said already
	})
	all.Go(func() { f.Disk = m.Space(local) })
	all.Go(func() { f.Sync = m.Sync(local) })
	all.Go(func() { f.Memory = probe.Memory(local, 0) })
	all.Go(func() { f.Names = lookUp(local, o.Network, cfg) })
	all.Go(func() { f.Ports = freePorts(local, o.Network, cfg) })
	node, err := readIdentity(cfg.DataDir)
	f.Identity = identityFacts(node, err)
	others := remembered(cfg, node, f.Address.Addr)
	f.Peers = make([]doctor.Peer, len(others))
	for i, p := range others {
		all.Go(func() {
			p.Err = knock(ctx, o.Network, p.Addrs[0])
			f.Peers[i] = p
		})
	}
	all.Wait()
	if f.Dir.Holder > 0 { // an agent that hangs has its ports still
		f.Ports = nil
	}
	return f
}

// readIdentity reads who a node is without touching its directory: identity.OpenDir makes
// a missing one and closes an open one.
func readIdentity(dataDir string) (identity.Node, error) {
	info, err := os.Stat(dataDir)
	if err != nil {
		return identity.Node{}, err
	}
	if entries, err := os.ReadDir(dataDir); err != nil || !info.IsDir() || len(entries) == 0 {
		return identity.Node{}, errors.Join(err, identity.ErrNoIdentity)
	}
	dir, err := identity.OpenDir(dataDir)
	if err != nil {
		return identity.Node{}, err
	}
	return dir.Load()
}

func identityFacts(n identity.Node, err error) *doctor.Identity {
	if err != nil {
		return &doctor.Identity{Err: err}
	}
	leaf, err := n.Leaf()
	if err != nil {
		return &doctor.Identity{Err: err}
	}
	out := &doctor.Identity{ID: n.Identity.ID, Cluster: n.Identity.Cluster, Ends: leaf.NotAfter, CAEnds: leaf.NotAfter}
	for i, ca := range n.Roots {
		if i == 0 || ca.NotAfter.Before(out.CAEnds) {
			out.CAEnds = ca.NotAfter
		}
	}
	return out
}

// freePorts knocks where the agent would listen.
func freePorts(ctx context.Context, nw transport.Network, cfg config.Config) []doctor.Port {
	out := []doctor.Port{{Name: "cluster port", Addr: cfg.Cluster.Bind, Flag: "--bind"}, {Name: "door", Addr: cfg.Door.Listen, Flag: "--door"}}
	for i := range out {
		out[i].Err = knock(ctx, nw, out[i].Addr)
	}
	return out
}

// remembered are the other nodes, as state.cache has them, or else the contacts of the
// configuration. own is this node's address.
func remembered(cfg config.Config, self identity.Node, own string) []doctor.Peer {
	out := []doctor.Peer{}
	if v, err := readCache(filepath.Join(cfg.DataDir, cacheFileName)); err == nil {
		for _, n := range v.Nodes() {
			if n.ID != self.Identity.ID && n.Addr != "" {
				out = append(out, doctor.Peer{Name: n.Name, Addrs: []string{n.Addr}})
			}
		}
	}
	if len(out) == 0 {
		for _, c := range cfg.Cluster.Join {
			if addr := withPort(c); addr != own {
				out = append(out, doctor.Peer{Name: addr, Addrs: []string{addr}})
			}
		}
	}
	slices.SortFunc(out, func(a, b doctor.Peer) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// maxCache bounds what is read of state.cache.
const maxCache = 1 << 30

// readCache reads state.cache and leaves it where it is, even if it is damaged.
func readCache(path string) (fsm.View, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fsm.View{}, err
	}
	if err != nil {
		return fsm.View{}, fmt.Errorf("read state cache: %w", err)
	}
	defer file.Close()
	return fsm.ReadCache(io.LimitReader(file, maxCache))
}

// CachedCluster is what a node remembers of its cluster while its agent is down.
type CachedCluster struct {
	Cluster  string             `json:"cluster"`
	ID       string             `json:"id"`
	Revision uint64             `json:"revision"`
	At       time.Time          `json:"at"` // of the newest change
	Nodes    []RememberedMember `json:"nodes"`
}

// RememberedMember is a node of CachedCluster.
type RememberedMember struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Addr    string `json:"cluster_addr"`
	Door    string `json:"door"`
	State   string `json:"state"`
	Version string `json:"version"`
	Boot    uint64 `json:"boot"`
}

// Remembered reads state.cache, and leaves it where it is.
func Remembered(cfg config.Config) (CachedCluster, error) {
	v, err := readCache(filepath.Join(cfg.DataDir, cacheFileName))
	if err != nil {
		return CachedCluster{}, err
	}
	out := CachedCluster{Revision: v.Revision(), At: v.At().UTC(), Nodes: []RememberedMember{}}
	if row := v.Cluster(); row != nil {
		out.Cluster, out.ID = row.Name, row.UUID
	}
	for _, n := range v.Nodes() {
		out.Nodes = append(out.Nodes, RememberedMember{string(n.ID), n.Name, n.Addr, n.Door, string(n.State), n.Version, n.Boot})
	}
	return out, nil
}
