package admin

import (
	"fmt"
	"slices"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func status(c *call) (Status, error) {
	v, err := c.read()
	if err != nil {
		return Status{}, err
	}
	return statusOf(c.snapshot(v)), nil
}

// snapshot is everything that status and node lists are made from, read once.
type snapshot struct {
	view  fsm.View
	self  peer.ID
	raft  RaftStatus
	peers map[peer.ID]peer.Peer
	local Local
	at    fsm.Stamp
}

func (c *call) snapshot(v fsm.View) snapshot {
	b := c.s.cfg.Backend
	s := snapshot{view: v, self: b.Self(), raft: b.Raft(), local: b.Local(), peers: map[peer.ID]peer.Peer{}, at: fsm.StampOf(c.now())}
	for _, p := range b.Peers() {
		s.peers[p.ID] = p
	}
	return s
}

func statusOf(s snapshot) Status {
	out := Status{
		Node: refOf(s.view, s.self), Version: s.local.Version, Started: s.local.Started,
		Quorum: s.raft.Quorum, Index: s.view.Revision(), Door: s.local.Door, API: s.local.API,
		Servers: Servers{Voters: len(s.raft.Voters)},
		Raft: Raft{
			State: s.raft.State, Term: s.raft.Term, LastIndex: s.raft.LastIndex, CommitIndex: s.raft.CommitIndex,
			Applied: s.raft.AppliedIndex, LastContact: Duration(s.raft.LastContact),
			Voters: refsOf(s.view, s.raft.Voters), Nonvoters: refsOf(s.view, s.raft.Nonvoters),
		},
	}
	if row := s.view.Cluster(); row != nil {
		out.Cluster = ClusterRef{ID: row.UUID, Name: row.Name}
	}
	if s.raft.Leader != "" {
		ref := refOf(s.view, s.raft.Leader)
		out.Central = &ref
	}
	for _, id := range s.raft.Voters {
		if s.alive(id) {
			out.Servers.Reachable++
		}
	}
	out.Counts = countsOf(s)
	out.Warnings = list(warningsOf(s))
	return out
}

func (s snapshot) alive(id peer.ID) bool {
	return id == s.self || s.peers[id].Status == peer.StatusAlive
}

func countsOf(s snapshot) Counts {
	var n Counts
	for _, node := range nodesOf(s) {
		n.Nodes++
		if s.alive(node.ID) {
			n.NodesAlive++
		}
		for _, e := range node.Engines {
			n.Engines++
			if e.Health == peer.Healthy && s.alive(node.ID) {
				n.EnginesHealthy++
			}
			if node.Status == peer.StatusAlive || node.Status == peer.StatusSuspect {
				n.Sessions += e.Sessions // what a lost node had is elsewhere by now
			}
		}
	}
	for _, t := range s.view.Tasks() {
		n.Tasks++
		if t.Paused {
			n.TasksPaused++
		}
	}
	for _, o := range s.view.OpenOccurrences() {
		if o.State != fsm.OccurrencePending {
			n.Running++
		}
	}
	return n
}

// warningsOf are sentences for an operator: what should not stay as it is.
func warningsOf(s snapshot) []string {
	var out []string
	warn := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s.view.Cluster() == nil {
		warn("this node has no cluster state yet")
	}
	reachable := 0
	for _, id := range s.raft.Voters {
		if s.alive(id) {
			reachable++
		}
	}
	switch voters := len(s.raft.Voters); {
	case !s.raft.Quorum:
		warn("no quorum: %d of %d servers reachable; settings, tasks and tokens cannot be changed", reachable, voters)
	case voters > 1 && reachable <= voters/2+1 && reachable < voters:
		warn("%d of %d servers reachable: with one more away there is no quorum", reachable, voters)
	case voters == 2:
		warn("two servers survive no failure: add a third, if only with --engine none")
	}
	versions := []string{}
	for _, n := range nodesOf(s) {
		switch {
		case n.Status == peer.StatusFailed:
			warn("node %s is failed", n.Name)
		case n.Status == peer.StatusSuspect:
			warn("node %s did not answer lately", n.Name)
		}
		if n.Status == peer.StatusAlive && n.Version != "" && !slices.Contains(versions, n.Version) {
			versions = append(versions, n.Version)
		}
		for _, e := range n.Engines {
			if n.Status == peer.StatusAlive && (e.Health == peer.Dead || e.Health == peer.Unhealthy) {
				warn("engine %s on node %s is %s", e.Name, n.Name, e.Health)
			}
		}
	}
	if len(versions) > 1 {
		slices.Sort(versions)
		warn("the nodes run different versions of usher: %v", versions)
	}
	return append(out, s.local.Warnings...)
}
