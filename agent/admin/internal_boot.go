package admin

import (
	"context"
	"net/http"

	"github.com/ushercluster/usher/agent/peer"
)

// Boot is the last start of a node that the node table knows: its number and the
// nonce drawn at it, zero when the node has never reported itself; and where the log of
// whoever answers ends.
type Boot struct {
	Meta
	Number    uint64 `json:"number"`
	Nonce     []byte `json:"nonce"`
	LastIndex uint64 `json:"last_index"`
	LastTerm  uint64 `json:"last_term"`
}

// forgetRequest names whom to take out of Raft; For is set by a node that passes
// the request on to the leader.
type forgetRequest struct {
	For peer.ID `json:"for,omitempty"`
}

// internalBoot tells a node of its own last start, so that it notices when its data
// directory was rolled back. It answers from this node's state: the caller asks
// every member and believes the newest.
func internalBoot(c *call, _ Nothing) (Boot, error) {
	v := c.s.cfg.Backend.View()
	c.show(v)
	var out Boot
	out.LastIndex, out.LastTerm = c.s.cfg.Backend.LogEnd()
	if n := v.Node(c.who.peer); n != nil {
		out.Number, out.Nonce = n.Boot, n.Nonce
	}
	return out, nil
}

func internalForget(c *call, in forgetRequest) (Nothing, error) {
	id := c.who.peer
	if in.For != "" {
		if err := c.leads(); err != nil { // passed on by a member that was asked
			return Nothing{}, err
		}
		id = in.For
	}
	return Nothing{}, c.s.cfg.Backend.Forget(c.bounded(), id)
}

// Boot asks a node what start of ours it knows.
func (f *Forwarder) Boot(ctx context.Context, node peer.ID) (Boot, error) {
	var out Boot
	err := f.ask(ctx, node, http.MethodGet, "/v1/internal/boot", nil, &out)
	return out, err
}

// Forget asks a node to see to it that id is taken out of Raft; "" is this node
// itself.
func (f *Forwarder) Forget(ctx context.Context, node, id peer.ID) error {
	return f.ask(ctx, node, http.MethodPost, "/v1/internal/forget", forgetRequest{For: id}, new(Nothing))
}
