package admin

import (
	"net/http"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// internalRoutes are for other agents, on the cluster port alone. Every agent that
// has a certificate may send commands; the rest is for servers, because an edge stands
// where it can be attacked.
func internalRoutes() []route {
	return []route{
		internalRoute(http.MethodPost, "/v1/internal/apply", "Propose commands at the leader", internalApply, forEdges),
		internalRoute(http.MethodPost, "/v1/internal/move", "Hand the central role over", internalMove),
		internalRoute(http.MethodPost, "/v1/internal/join", "Let a machine in", internalJoin),
		internalRoute(http.MethodPost, "/v1/internal/dialback", "Try to reach a joining machine", internalDialBack),
		internalRoute(http.MethodGet, "/v1/internal/boot", "The caller's last start, as the node table has it", internalBoot),
		internalRoute(http.MethodPost, "/v1/internal/forget", "Take the caller, which was rolled back, out of Raft", internalForget),
		internalRoute(http.MethodGet, "/v1/internal/clock", "This node's wall clock", internalClock),
		internalRoute(http.MethodPost, "/v1/internal/reach", "Try a fresh connection to the caller", internalReach),
		internalRoute(http.MethodGet, "/v1/internal/local", "What this node knows of itself", internalLocal),
		internalRoute(http.MethodGet, "/v1/internal/sessions", "This node's sessions", internalSessions, withPages,
			withQuery("engine", ""), withQuery("document", "")),
		internalRoute(http.MethodDelete, "/v1/internal/sessions/{id}", "End one of this node's sessions", internalCloseSession),
	}
}

func internalRoute[In, Out any, P answer[Out]](method, pattern, summary string, h func(*call, In) (Out, error), as ...attribute) route {
	return writeRoute[In, Out, P](method, pattern, 0, summary, h, as...)
}

func forEdges(r *route) { r.edges = true }

// admitPeer lets in who proved to be an agent of this cluster.
func (c *call) admitPeer() error {
	p, ok := c.r.Context().Value(peerKey{}).(peerIdentity)
	switch {
	case !ok || !p.id.Valid():
		return problem(http.StatusForbidden, CodeDenied, "this is for agents of the cluster", "")
	case c.s.cfg.Backend.View().Removed(p.id):
		return problem(http.StatusForbidden, CodeDenied, "the node was removed from the cluster", "")
	case p.class != peer.ClassServer && !c.route.edges:
		return problem(http.StatusForbidden, CodeDenied, "this is for servers", "")
	}
	c.who = caller{peer: p.id, class: p.class}
	return nil
}

// leads fails on a node that is not the leader, before anything has been done.
func (c *call) leads() error {
	if c.s.cfg.Backend.Raft().Leader == c.self() {
		return nil
	}
	return notLeader()
}

func notLeader() *Problem {
	return problem(http.StatusServiceUnavailable, CodeNotLeader, "this node does not lead", "ask the leader")
}

func internalMove(c *call, in moveRequest) (Nothing, error) {
	if err := c.leads(); err != nil {
		return Nothing{}, err
	}
	if in.Token != "" {
		who, why := c.s.proven.check(c.s.cfg.Backend.View(), in.Token, c.now())
		if why != "" {
			return Nothing{}, unauthenticated(why)
		}
		if !who.role.Includes(fsm.RoleOperator) {
			return Nothing{}, problem(http.StatusForbidden, CodeDenied, "this needs the role operator", "")
		}
	}
	return Nothing{}, moveFailed(c.s.cfg.Backend.MoveCentral(c.bounded(), in.To))
}

func internalJoin(c *call, in joinRequest) (joinAnswer, error) {
	if err := c.leads(); err != nil {
		return joinAnswer{}, err
	}
	a, refused := c.s.cfg.Backend.Admit(c.bounded(), in.Request, c.who.peer)
	if refused != nil {
		return joinAnswer{Error: refused}, nil
	}
	return joinAnswer{Answer: &a}, nil
}

func internalDialBack(c *call, in dialBackRequest) (dialBackAnswer, error) {
	if err := c.s.cfg.Backend.DialBack(c.bounded(), in.Addr, in.Nonce); err != nil {
		return dialBackAnswer{Error: err.Error()}, nil
	}
	return dialBackAnswer{}, nil
}

func internalLocal(c *call, _ Nothing) (Local, error) {
	local, count := c.s.cfg.Backend.Local(), c.s.cfg.Backend.Count()
	local.Count = &count
	return local, nil
}

func internalSessions(c *call, _ Nothing) (List[Session], error) {
	w, err := c.window()
	if err != nil {
		return List[Session]{}, err
	}
	return localSessions(c.s.cfg.Backend, sessionQuery{LocalFilter{Engine: c.param("engine"), Document: c.param("document")}, w}), nil
}

func internalCloseSession(c *call, _ Nothing) (Nothing, error) {
	id := c.r.PathValue("id")
	if !c.s.cfg.Backend.CloseSession(id) {
		return Nothing{}, notFound("the session is not here")
	}
	return Nothing{}, nil
}
