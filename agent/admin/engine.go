package admin

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func listEngines(c *call) (List[Engine], error) {
	w, err := c.window()
	if err != nil {
		return List[Engine]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Engine]{}, err
	}
	var all []Engine
	for _, n := range nodesOf(c.snapshot(v)) {
		all = append(all, n.Engines...)
	}
	slices.SortFunc(all, func(a, b Engine) int { return cmp.Compare(engineKey(a), engineKey(b)) })
	return listOf(w, all, engineKey, func(e Engine) Engine { return e }), nil
}

// engineKey orders engines by the names of their nodes, as people look for them.
func engineKey(e Engine) string { return e.Node.Name + "\x00" + e.Name }

// askTimeout bounds a question to another node.
const askTimeout = 2 * time.Second

// showEngine asks the engine's own agent for what gossip does not carry, and does
// without when that does not answer.
func showEngine(c *call) (Engine, error) {
	v, err := c.read()
	if err != nil {
		return Engine{}, err
	}
	n, err := findNode(v, c.r.PathValue("node"))
	if err != nil {
		return Engine{}, err
	}
	s := c.snapshot(v)
	if f := c.s.cfg.Forwarder; n.ID != s.self && f != nil && s.alive(n.ID) {
		ctx, cancel := context.WithTimeout(c.bounded(), askTimeout)
		defer cancel()
		if local, err := f.Local(ctx, n.ID); err == nil {
			s.self, s.local = n.ID, local
		}
	}
	for _, e := range enginesOf(s, n) {
		if e.Name == c.r.PathValue("engine") {
			return e, nil
		}
	}
	return Engine{}, notFound("node %s has no engine %q", n.Name, clip(c.r.PathValue("engine"), 64))
}

// enginesOf are a node's engines: those in its row and those that it reported,
// sorted by name. Of our own node we know them first hand.
func enginesOf(s snapshot, n *fsm.Node) []Engine {
	load := s.peers[n.ID].Load
	if status := s.peers[n.ID].Status; status == peer.StatusFailed || status == peer.StatusLeft {
		load = peer.Load{} // what it reported is gone with it
	}
	byName := map[string]*Engine{}
	get := func(name string) *Engine {
		e := byName[name]
		if e == nil {
			e = &Engine{
				ID: peer.MakeEngineID(n.ID, name), Name: name, Node: Ref{ID: n.ID, Name: n.Name}, NodeState: n.State, Documents: []string{},
			}
			byName[name] = e
		}
		return e
	}
	for _, name := range n.Engines {
		get(name)
	}
	if n.ID == s.self {
		for _, l := range s.local.Engines {
			fromLocal(get(l.Name), l)
		}
	} else {
		for _, l := range load.Engines {
			fromReport(get(l.Name), l, s.at.Time().Sub(load.Received))
		}
	}
	out := make([]Engine, 0, len(byName))
	for _, e := range byName {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b Engine) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

func fromLocal(e *Engine, l LocalEngine) {
	e.Health, e.Sessions, e.InFlight, e.LoadPermille, e.Documents = l.Health, l.Sessions, l.InFlight, l.LoadPermille, list(l.Documents)
	e.URL, e.Since, e.Error = l.URL, l.Since, l.Error
}

func fromReport(e *Engine, l peer.EngineLoad, age time.Duration) {
	e.Health, e.Sessions, e.InFlight, e.Documents = l.Health, l.Sessions, l.InFlight, list(l.Documents)
	if l.Permille >= 0 {
		permille := l.Permille
		e.LoadPermille = &permille
	}
	e.ReportAge = ageOfReport(age)
}

// ageOfReport is at least a millisecond, because zero stands for "none".
func ageOfReport(d time.Duration) Duration {
	return Duration(max(time.Millisecond, d.Round(time.Millisecond)))
}
