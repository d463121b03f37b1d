package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// dialTry bounds one address of several, so that a black hole does not use up the
// time that the right one needs.
const dialTry = 2 * time.Second

// addresses are where a node may be reached, the likeliest first: gossip's newest
// sighting, then the node table (live or from state.cache), then the contacts that
// the operator gave. The certificate decides whether it is the right node, so a
// wrong address costs a try and nothing else.
func (a *Agent) addresses(id peer.ID) []string {
	var out []string
	add := func(addr string) {
		if addr != "" && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	if m := a.gossip.Load(); m != nil {
		if p, ok := m.Peer(id); ok {
			add(p.Addr)
		}
	}
	if n := a.view().Node(id); n != nil {
		add(n.Addr)
	}
	for _, c := range a.cfg.Cluster.Join {
		add(withPort(c))
	}
	return out
}

// withPort is a contact with the default port unless it names one.
func withPort(hostport string) string {
	if _, _, err := net.SplitHostPort(hostport); err == nil {
		return hostport
	}
	return net.JoinHostPort(hostport, transport.DefaultPort)
}

// dialNode reaches a node of the cluster by its ID.
func (a *Agent) dialNode(ctx context.Context, id peer.ID, proto transport.Proto) (net.Conn, error) {
	addrs := a.addresses(id)
	if len(addrs) == 0 {
		return nil, fmt.Errorf("dial node %s: no address is known", id)
	}
	var errs []error
	for i, addr := range addrs {
		try, cancel := ctx, context.CancelFunc(func() {})
		if left := len(addrs) - i; left > 1 {
			try, cancel = context.WithTimeout(ctx, tryTime(ctx, left))
		}
		c, err := a.port.Dial(try, transport.Target{ID: id, Addr: addr}, proto)
		cancel()
		if err == nil {
			a.unreached.Delete(id)
			return c, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	a.unreached.Store(id, a.now())
	return nil, fmt.Errorf("dial node %s: %w", id, errors.Join(errs...))
}

// tryTime is how long the next of several addresses may take: a fair part of what is
// left of ctx, and never more than dialTry.
func tryTime(ctx context.Context, left int) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return min(dialTry, time.Until(end)/time.Duration(left))
	}
	return dialTry
}

// refused reports whether a node's host is there and its cluster port closed: the
// process has ended. The address is the one at which it was seen last, because an older
// one may be refused by anybody.
func (a *Agent) refused(ctx context.Context, id peer.ID) bool {
	addrs := a.addresses(id)
	if len(addrs) == 0 {
		return false
	}
	c, err := a.nw.DialContext(ctx, "tcp", addrs[0])
	if err != nil {
		return upstream.Refused(err)
	}
	c.Close()
	return false
}

// dialFresh is how long a failed dial counts for more than gossip's opinion.
const dialFresh = 10 * time.Second

// reachable is whether a node can be reached, for what people are told: gossip's
// opinion, unless a dial failed since.
func (a *Agent) reachable(id peer.ID) bool {
	if t, ok := a.unreached.Load(id); ok && a.now().Sub(t.(time.Time)) < dialFresh {
		return false
	}
	status, _ := a.seen(id)
	return status == peer.StatusAlive
}

// dialGossip reaches a node at the address that gossip asks for. A node that is
// known by ID is looked up again when that address does not lead to it.
func (a *Agent) dialGossip(ctx context.Context, to peer.ID, addr string, stream bool) (net.Conn, error) {
	proto := transport.ProtoGossip
	if stream {
		proto = transport.ProtoGossipStream
	}
	return a.port.Dial(ctx, transport.Target{ID: to, Addr: addr}, proto)
}

// contacts are the addresses that gossip joins while they are no live members: all
// nodes of the table, and what the operator gave.
func (a *Agent) contacts() []string {
	var out []string
	for _, n := range a.view().Nodes() {
		if n.ID != a.self && n.Addr != "" {
			out = append(out, n.Addr)
		}
	}
	for _, c := range a.cfg.Cluster.Join {
		if c = withPort(c); c != a.advertise && !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}
