package admin

import (
	"context"
	"net/http"

	"github.com/ushercluster/usher/agent/peer"
)

// Nodes lists the members, by name.
func (c *Client) Nodes(ctx context.Context, opts ...Option) (List[Node], error) {
	return get[List[Node]](ctx, c, "/v1/nodes", opts)
}

// Node is one member, by name, ID or an unambiguous beginning of an ID.
func (c *Client) Node(ctx context.Context, node string, opts ...Option) (Node, error) {
	return get[Node](ctx, c, "/v1/nodes/"+segment(node), opts)
}

// UpdateNode changes what operators may set of a node.
func (c *Client) UpdateNode(ctx context.Context, node string, u NodeUpdate, opts ...Option) (Node, error) {
	return exchange[Node](ctx, c, http.MethodPatch, "/v1/nodes/"+segment(node), u, opts)
}

// Drain lets a node keep its sessions and take no new ones. It returns when that
// is agreed, not when the sessions have ended.
func (c *Client) Drain(ctx context.Context, node string, s StateChange, opts ...Option) (Node, error) {
	return exchange[Node](ctx, c, http.MethodPost, "/v1/nodes/"+segment(node)+"/drain", s, opts)
}

// Activate lets a node take sessions.
func (c *Client) Activate(ctx context.Context, node string, s StateChange, opts ...Option) (Node, error) {
	return exchange[Node](ctx, c, http.MethodPost, "/v1/nodes/"+segment(node)+"/activate", s, opts)
}

// Standby lets a node take no sessions until it is promoted.
func (c *Client) Standby(ctx context.Context, node string, s StateChange, opts ...Option) (Node, error) {
	return exchange[Node](ctx, c, http.MethodPost, "/v1/nodes/"+segment(node)+"/standby", s, opts)
}

// RemoveNode takes a node out of the cluster for good. It is refused when the
// voters that remain would be no majority, unless force.
func (c *Client) RemoveNode(ctx context.Context, node string, force bool, opts ...Option) error {
	if force {
		opts = append(opts, func(q *query) { q.values.Set("force", "") })
	}
	_, err := exchange[Nothing](ctx, c, http.MethodDelete, "/v1/nodes/"+segment(node), nil, opts)
	return err
}

// Engines lists the engines of all nodes.
func (c *Client) Engines(ctx context.Context, opts ...Option) (List[Engine], error) {
	return get[List[Engine]](ctx, c, "/v1/engines", opts)
}

// Engine is one engine with what its own agent knows of it.
func (c *Client) Engine(ctx context.Context, id peer.EngineID, opts ...Option) (Engine, error) {
	return get[Engine](ctx, c, "/v1/engines/"+segment(string(id.Node()))+"/"+segment(id.Name()), opts)
}

// SessionFilter narrows a list of sessions; empty fields match all.
type SessionFilter struct {
	Node     string // name or ID
	Engine   string // name of the engine on its node, or NODE-ID/NAME
	Document string
}

// Sessions lists sessions, by ID. List.Missing names nodes that did not answer.
func (c *Client) Sessions(ctx context.Context, f SessionFilter, opts ...Option) (List[Session], error) {
	opts = append(opts, param("node", f.Node), param("engine", f.Engine), param("document", f.Document))
	return get[List[Session]](ctx, c, "/v1/sessions", opts)
}

// Session is one session.
func (c *Client) Session(ctx context.Context, id string, opts ...Option) (Session, error) {
	return get[Session](ctx, c, "/v1/sessions/"+segment(id), opts)
}

// CloseSession ends a session: its browser begins a new one at its next request.
func (c *Client) CloseSession(ctx context.Context, id string, opts ...Option) error {
	_, err := exchange[Nothing](ctx, c, http.MethodDelete, "/v1/sessions/"+segment(id), nil, opts)
	return err
}

// Documents lists the documents that engines hold or tasks reload, by key.
func (c *Client) Documents(ctx context.Context, opts ...Option) (List[Document], error) {
	return get[List[Document]](ctx, c, "/v1/documents", opts)
}

// Document is one document with its sessions.
func (c *Client) Document(ctx context.Context, key string, opts ...Option) (Document, error) {
	return get[Document](ctx, c, "/v1/documents/"+segment(key), opts)
}
