package admin

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// Sessions live in the tables of the agents beside their engines. Whoever is asked
// asks all of them, each for the same page, and merges: IDs are the order.

// sessionQuery is one question to every node.
type sessionQuery struct {
	LocalFilter
	window
}

func listSessions(c *call) (List[Session], error) {
	w, err := c.window()
	if err != nil {
		return List[Session]{}, err
	}
	v, err := c.read()
	if err != nil {
		return List[Session]{}, err
	}
	q := sessionQuery{LocalFilter{Engine: c.param("engine"), Document: c.param("document")}, w}
	node := c.param("node")
	if id := peer.EngineID(q.Engine); id.Valid() {
		if node != "" && node != string(id.Node()) {
			return List[Session]{}, invalidParameter("engine", q.Engine, "it is on another node than the parameter node says")
		}
		node, q.Engine = string(id.Node()), id.Name()
	}
	if node == "" {
		return c.gather(v, c.sessionNodes(v), q), nil
	}
	n, err := findNode(v, node)
	if err != nil {
		return List[Session]{}, err
	}
	return c.gather(v, []peer.ID{n.ID}, q), nil
}

// sessionNodes are the nodes that may have sessions. What gossip calls failed has
// none, unless it is we who are cut off.
func (c *call) sessionNodes(v fsm.View) []peer.ID {
	s := c.snapshot(v)
	var out []peer.ID
	for _, n := range v.Nodes() {
		gone := s.peers[n.ID].Status == peer.StatusFailed || s.peers[n.ID].Status == peer.StatusLeft
		if n.ID == s.self || !gone || c.stale {
			out = append(out, n.ID)
		}
	}
	return out
}

// gather asks the nodes at once. Those that do not answer in time are named.
func (c *call) gather(v fsm.View, nodes []peer.ID, q sessionQuery) List[Session] {
	var mu sync.Mutex
	var out List[Session]
	more := false
	c.each(nodes, func(ctx context.Context, id peer.ID) {
		part, err := c.sessionsOn(ctx, id, q)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			out.Missing = append(out.Missing, refOf(v, id))
			return
		}
		for i := range part.Items {
			part.Items[i].Node = refOf(v, id)
		}
		out.Items = append(out.Items, part.Items...)
		more = more || part.Next != ""
	})
	slices.SortFunc(out.Missing, func(a, b Ref) int { return cmp.Compare(a.Name, b.Name) })
	sortSessions(out.Items)
	out.Items = list(out.Items)
	if len(out.Items) > q.limit {
		out.Items, more = out.Items[:q.limit], true
	}
	if more && len(out.Items) > 0 {
		out.Next = cursorOf(sessionKey(out.Items[len(out.Items)-1]))
	}
	return out
}

// maxAsked bounds how many nodes are asked at the same time.
const maxAsked = 32

// each calls ask for every node, several at once, and returns when all are done.
func (c *call) each(nodes []peer.ID, ask func(context.Context, peer.ID)) {
	ctx, cancel := context.WithTimeout(c.bounded(), askTimeout)
	defer cancel()
	slots := make(chan struct{}, maxAsked)
	var wg sync.WaitGroup
	for _, id := range nodes {
		slots <- struct{}{}
		wg.Go(func() {
			ask(ctx, id)
			<-slots
		})
	}
	wg.Wait()
}

func (c *call) sessionsOn(ctx context.Context, id peer.ID, q sessionQuery) (List[Session], error) {
	if id == c.self() {
		return localSessions(c.s.cfg.Backend, q), nil
	}
	if c.s.cfg.Forwarder == nil {
		return List[Session]{}, errNoForwarder
	}
	return c.s.cfg.Forwarder.sessions(ctx, id, q)
}

// localSessions is one node's part of the answer.
func localSessions(b Backend, q sessionQuery) List[Session] {
	all := slices.DeleteFunc(slices.Clone(b.Sessions(q.LocalFilter)), func(s Session) bool {
		return q.Engine != "" && s.Engine.Name() != q.Engine || q.Document != "" && !slices.Contains(s.Documents, q.Document)
	})
	for i := range all {
		all[i].Documents = list(all[i].Documents)
	}
	sortSessions(all)
	page, next := cut(q.window, all, sessionKey)
	return List[Session]{Items: list(page), Next: next}
}

// sessionKey tells apart the rows of a session that has just moved and is still
// in the table of the engine that it left.
func sessionKey(s Session) string { return s.ID + "\x00" + string(s.Engine) }

func sortSessions(ss []Session) {
	slices.SortFunc(ss, func(a, b Session) int { return strings.Compare(sessionKey(a), sessionKey(b)) })
}

// showSession asks every node for the one session: a page of one row from just
// before it.
func showSession(c *call) (Session, error) {
	v, err := c.read()
	if err != nil {
		return Session{}, err
	}
	id := c.r.PathValue("id")
	found := c.gather(v, c.sessionNodes(v), sessionQuery{window: window{limit: 1, after: id, begun: true}})
	for _, s := range found.Items {
		if s.ID == id {
			return s, nil
		}
	}
	return Session{}, noSession(id, found.Missing)
}

func noSession(id string, missing []Ref) *Problem {
	if len(missing) == 0 {
		return notFound("there is no session %q", clip(id, 64))
	}
	var names []string
	for _, r := range missing {
		names = append(names, r.Name)
	}
	return problem(http.StatusBadGateway, CodeUnreachable,
		"no node that answered has the session; no answer from "+strings.Join(names, ", "), "try again when they are back")
}

func closeSession(c *call, _ Nothing) (Nothing, error) {
	id := c.r.PathValue("id")
	b := c.s.cfg.Backend
	v := b.View()
	closed := b.CloseSession(id)
	var mu sync.Mutex
	var missing []Ref
	if !closed {
		others := slices.DeleteFunc(c.sessionNodes(v), func(n peer.ID) bool { return n == c.self() })
		c.each(others, func(ctx context.Context, n peer.ID) {
			ok, err := c.closeOn(ctx, n, id)
			mu.Lock()
			defer mu.Unlock()
			closed = closed || ok
			if err != nil {
				missing = append(missing, refOf(v, n))
			}
		})
	}
	if !closed {
		return Nothing{}, noSession(id, missing)
	}
	// No command records this one, so the log does.
	c.s.log.Info().Str("actor", c.who.actor("").String()).Str(logs.Session, clip(id, 64)).Msg("session closed by request")
	return Nothing{}, nil
}

func (c *call) closeOn(ctx context.Context, node peer.ID, id string) (bool, error) {
	if c.s.cfg.Forwarder == nil {
		return false, errNoForwarder
	}
	return c.s.cfg.Forwarder.CloseSession(ctx, node, id)
}
