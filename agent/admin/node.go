package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func listNodes(c *call) (List[Node], error) {
	w, err := c.window()
	if err != nil {
		return List[Node]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Node]{}, err
	}
	return listOf(w, nodesOf(c.snapshot(v)), func(n Node) string { return n.Name }, func(n Node) Node { return n }), nil
}

func showNode(c *call) (Node, error) {
	v, err := c.read()
	if err != nil {
		return Node{}, err
	}
	n, err := findNode(v, c.r.PathValue("id"))
	if err != nil {
		return Node{}, err
	}
	count, err := c.flag("count")
	if err != nil {
		return Node{}, err
	}
	out := nodeOf(c.snapshot(v), n)
	if count {
		out.Count = c.countOf(n.ID)
	}
	return out, nil
}

// countOf asks the node itself; nil when it does not answer.
func (c *call) countOf(id peer.ID) *Count {
	if id == c.self() {
		own := c.s.cfg.Backend.Count()
		return &own
	}
	if c.s.cfg.Forwarder == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.bounded(), askTimeout)
	defer cancel()
	local, err := c.s.cfg.Forwarder.Local(ctx, id)
	if err != nil {
		return nil
	}
	return local.Count
}

// findNode takes a name, an ID, or an unambiguous beginning of an ID.
func findNode(v fsm.View, s string) (*fsm.Node, error) {
	if n := v.FindNode(s); n != nil {
		return n, nil
	}
	for _, r := range v.RemovedNodes() {
		if string(r.ID) == s {
			return nil, problem(http.StatusGone, CodeRemoved, "node "+s+" was removed from the cluster", "")
		}
	}
	p := notFound("there is no node %q", clip(s, 64))
	p.Next = "usher node list shows names and IDs"
	return nil, p
}

// nodesOf are all members, sorted by name.
func nodesOf(s snapshot) []Node {
	rows := s.view.Nodes()
	out := make([]Node, 0, len(rows))
	for _, r := range rows {
		out = append(out, nodeOf(s, r))
	}
	slices.SortFunc(out, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func nodeOf(s snapshot, n *fsm.Node) Node {
	out := Node{
		Row: rowOf(n.Meta), ID: n.ID, Name: n.Name, Class: n.Class, ClusterAddr: n.Addr, Door: n.Door,
		PublicName: n.PublicName, Version: n.Version, Boot: n.Boot, Joined: n.Joined.Time(),
		State: n.State, StateUntil: n.StateUntil.Time(), StateReason: n.StateReason,
		Weight: n.Weight, Priority: n.Priority, Tags: list(n.Tags),
		Status: peer.StatusUnknown, Central: n.ID == s.raft.Leader, Voter: slices.Contains(s.raft.Voters, n.ID), Self: n.ID == s.self,
	}
	p, seen := s.peers[n.ID]
	if seen {
		out.Status, out.Since = p.Status, p.Since
		if p.Version != "" {
			out.Version = p.Version
		}
		out.Load = NodeLoad{CPUPermille: p.Load.CPUPermille, MemFreeBytes: p.Load.MemFreeBytes, MemTotalBytes: p.Load.MemTotalBytes}
		if !p.Load.Received.IsZero() {
			out.Load.ReportAge = ageOfReport(s.at.Time().Sub(p.Load.Received))
		}
	}
	if out.Self {
		out.Status = peer.StatusAlive
	}
	out.Engines = enginesOf(s, n)
	for _, e := range out.Engines {
		out.Load.Sessions += e.Sessions
		out.Load.InFlight += e.InFlight
	}
	return out
}

func updateNode(c *call, in NodeUpdate) (Node, error) {
	n, err := findNode(c.s.cfg.Backend.View(), c.r.PathValue("id"))
	if err != nil {
		return Node{}, err
	}
	if in == (NodeUpdate{}) {
		return Node{}, invalid("nothing to change was named", "give weight, priority, tags or public_name")
	}
	return c.changeNode(n.ID, &fsm.UpdateNode{
		ID: n.ID, If: c.cond.match, Weight: in.Weight, Priority: in.Priority, Tags: in.Tags, PublicName: in.PublicName,
	})
}

func (c *call) changeNode(id peer.ID, cmd fsm.Command) (Node, error) {
	if _, err := c.propose(cmd); err != nil {
		return Node{}, err
	}
	n, err := findNode(c.view, string(id)) // it may have been removed since
	if err != nil {
		return Node{}, err
	}
	return nodeOf(c.snapshot(c.view), n), nil
}

// maxDrain is the furthest deadline of a drain.
const maxDrain = 30 * 24 * time.Hour

func drainNode(c *call, in StateChange) (Node, error)    { return c.setNodeState(peer.StateDraining, in) }
func activateNode(c *call, in StateChange) (Node, error) { return c.setNodeState(peer.StateActive, in) }
func standbyNode(c *call, in StateChange) (Node, error)  { return c.setNodeState(peer.StateStandby, in) }

func (c *call) setNodeState(to peer.State, in StateChange) (Node, error) {
	n, err := findNode(c.s.cfg.Backend.View(), c.r.PathValue("id"))
	if err != nil {
		return Node{}, err
	}
	cmd := &fsm.SetNodeState{ID: n.ID, If: c.cond.match, State: to, Reason: in.Reason}
	switch {
	case in.Deadline < 0, in.Deadline != 0 && to != peer.StateDraining:
		return Node{}, invalid("a deadline is for a drain, and lies ahead", "leave deadline out, or give a duration such as 30m")
	case in.Deadline > Duration(maxDrain):
		return Node{}, invalid("the deadline is more than 30 days away", "for longer, put the node on standby")
	case in.Deadline > 0:
		cmd.Until = fsm.StampOf(c.now().Add(in.Deadline.D()))
	}
	return c.changeNode(n.ID, cmd)
}

func removeNode(c *call, _ Nothing) (Nothing, error) {
	force, err := c.flag("force")
	if err != nil {
		return Nothing{}, err
	}
	n, err := findNode(c.s.cfg.Backend.View(), c.r.PathValue("id"))
	if err != nil {
		return Nothing{}, err
	}
	p, err := c.proposal(&fsm.RemoveNode{ID: n.ID})
	if err != nil {
		return Nothing{}, err
	}
	r, err := c.s.cfg.Backend.RemoveNode(c.asCaller(), p, force)
	if n.ID == c.self() && err == nil && r.Err() == nil {
		return Nothing{}, nil // nobody tells a node that is out of the cluster what was written
	}
	_, err = c.applied(r, err)
	return Nothing{}, err
}
