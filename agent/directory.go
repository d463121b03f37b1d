package agent

import (
	"context"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/fsm"
)

// directoryPause bounds how often the directory is made anew; changes within it
// share one.
const directoryPause = 10 * time.Millisecond

// keepDirectory makes the doors' directory and settings anew whenever the state or
// gossip changed. Nobody asks Raft or gossip on a request's way.
func (a *Agent) keepDirectory(ctx context.Context) error {
	changed, stop := a.gossip.Load().Subscribe()
	defer stop()
	for {
		v := a.view()
		a.refresh(v)
		select {
		case <-v.Newer():
		case <-changed:
		case <-ctx.Done():
			return nil
		}
		select { // let a burst of changes pass
		case <-time.After(directoryPause):
		case <-ctx.Done():
			return nil
		}
	}
}

func (a *Agent) refresh(v fsm.View) {
	if v.Cluster() == nil {
		return
	}
	a.applySettings(v)
	a.refreshKeys(v)
	a.directory.Store(directoryOf(v, a.gossip.Load().Peers(), a.self))
}

// directoryOf joins the node table (what operators want) with gossip (what is).
func directoryOf(v fsm.View, peers []peer.Peer, self peer.ID) *door.Directory {
	d := &door.Directory{Nodes: map[peer.ID]door.NodeInfo{}, Documents: map[peer.EngineID][]string{}, Revision: v.Revision(), Stale: v.Cached()}
	for _, n := range v.Nodes() {
		i, known := slices.BinarySearchFunc(peers, n.ID, func(p peer.Peer, id peer.ID) int {
			switch {
			case p.ID < id:
				return -1
			case p.ID > id:
				return 1
			}
			return 0
		})
		p := peer.Peer{ID: n.ID, Addr: n.Addr, Status: peer.StatusUnknown}
		if known {
			p = peers[i]
		}
		if n.ID == self {
			p.Status = peer.StatusAlive
		}
		d.Nodes[n.ID] = door.NodeInfo{
			Name: n.Name, Status: p.Status, State: n.State, Addr: p.Addr, Reported: p.Load.Received,
		}
		for _, e := range p.Load.Engines {
			d.Engines = append(d.Engines, candidate(n, p, e, self))
			d.Documents[peer.MakeEngineID(n.ID, e.Name)] = e.Documents
		}
	}
	return d
}

// Count is the owner's own count of sessions. The directory is read first: what is
// opened after it was stored has been judged by it.
func (b backend) Count() admin.Count {
	var out admin.Count
	if d := b.directory.Load(); d != nil {
		out.Revision = d.Revision
	}
	for _, e := range b.door.Loads() {
		out.Sessions += e.Sessions
	}
	return out
}

func candidate(n *fsm.Node, p peer.Peer, e peer.EngineLoad, self peer.ID) placement.Candidate {
	return placement.Candidate{
		Engine: peer.MakeEngineID(n.ID, e.Name), NodeName: n.Name, Weight: n.Weight, Priority: n.Priority,
		State: n.State, Status: p.Status, Health: e.Health, Local: n.ID == self, Tags: n.Tags,
		Load: placement.Load{
			Sessions: e.Sessions, InFlight: e.InFlight, Permille: e.Permille, CPUPermille: p.Load.CPUPermille,
			MemFreeBytes: p.Load.MemFreeBytes, MemTotalBytes: p.Load.MemTotalBytes,
		},
	}
}
