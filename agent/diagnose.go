package agent

import (
	"cmp"
	"context"
	"net"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/doctor/probe"
	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// Bounds of an examination. A node that is dead costs dialBound alone; the sum of all
// three stays below the whole.
const (
	examineBound = 8 * time.Second
	dialBound    = 3 * time.Second // of a fresh connection to another node
	askBound     = 4 * time.Second // of what that node is asked then
	localBound   = 4 * time.Second // of what is looked at on this machine
)

// physician examines a node. One examination runs at a time.
type physician struct {
	*Agent
	machine *probe.Machine
	turn    chan struct{}
}

func newPhysician(a *Agent) *physician {
	return &physician{Agent: a, machine: &probe.Machine{Dir: a.cfg.DataDir}, turn: make(chan struct{}, 1)}
}

// diagnose examines the node. It fails only when ctx ends before it is its turn.
func (p *physician) diagnose(ctx context.Context) ([]doctor.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, examineBound)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return doctor.Judge(p.facts(ctx)), nil
}

// facts looks at everything at once.
func (p *physician) facts(ctx context.Context) doctor.Facts {
	f := doctor.Facts{Now: p.now(), Files: probe.Files(), Identity: identityFacts(p.node, nil)}
	local, cancel := context.WithTimeout(ctx, localBound)
	defer cancel()
	var all sync.WaitGroup
	all.Go(func() { f.Disk = p.machine.Space(local) })
	all.Go(func() { f.Sync = p.machine.Sync(local) })
	all.Go(func() { f.Dir = p.machine.Directory(local) })
	all.Go(func() { f.Memory = probe.Memory(local, os.Getpid()) })
	all.Go(func() { f.Names = lookUp(local, p.nw, p.cfg) })
	all.Go(func() { f.Ports = p.ownPorts(local) })
	v := p.view()
	f.Address = addressFacts(p.advertise, nil)
	f.Engines, f.Versions = p.engineFacts(), versionsOf(v)
	others := make([]*fsm.Node, 0, len(v.Nodes()))
	for _, n := range v.Nodes() {
		if n.ID != p.self {
			others = append(others, n)
		}
	}
	slices.SortFunc(others, func(a, b *fsm.Node) int { return cmp.Compare(a.Name, b.Name) })
	f.Peers = make([]doctor.Peer, len(others))
	for i, n := range others {
		all.Go(func() { f.Peers[i] = p.other(ctx, n) })
	}
	all.Wait()
	f.Raft = p.raftFacts(v) // now: the dials have told who is away
	return f
}

// other looks at the way to another node, and asks that node about the way back.
func (p *physician) other(ctx context.Context, n *fsm.Node) doctor.Peer {
	out := doctor.Peer{Name: n.Name, Addrs: p.addresses(n.ID)}
	where, err := p.fresh(ctx, n.ID)
	if err != nil {
		out.Err = err
		return out
	}
	out.Addrs, out.Asked = []string{where}, true
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	out.BackErr, out.AskErr = p.forward.Reach(ctx, n.ID)
	if off, within, err := p.forward.Clock(ctx, n.ID, p.now); err == nil {
		out.Timed, out.Offset, out.Within = true, off, within
	}
	return out
}

// fresh makes a connection to another node that proves who it is, and ends it. where is
// the address that led there.
func (a *Agent) fresh(ctx context.Context, id peer.ID) (where string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dialBound)
	defer cancel()
	c, err := a.dialAPI(ctx, id)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.RemoteAddr().String(), nil
}

// ownPorts connects to this node's own listeners, on loopback where they listen on all
// addresses.
func (p *physician) ownPorts(ctx context.Context) []doctor.Port {
	addrs := p.Addrs()
	out := []doctor.Port{{Name: "cluster port", Addr: addrs.Cluster, Flag: "--bind"}, {Name: "door", Addr: addrs.Door, Flag: "--door"}}
	for i := range out {
		out[i].Err = knock(ctx, p.nw, out[i].Addr)
	}
	return out
}

func knock(ctx context.Context, nw transport.Network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := nw.DialContext(ctx, "tcp", dialable(addr))
	if err != nil {
		return err
	}
	return c.Close()
}

// dialable is a listener's address as this machine reaches it.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip != nil && ip.IsUnspecified() && ip.To4() != nil:
		host = "127.0.0.1"
	case ip != nil && ip.IsUnspecified():
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// addressFacts holds the advertised address against the machine's interfaces.
func addressFacts(addr string, err error) *doctor.Address {
	out := &doctor.Address{Addr: addr, Err: err}
	host, _, splitErr := net.SplitHostPort(addr)
	if err != nil || splitErr != nil {
		return out
	}
	ifaces, err := config.Interfaces()
	if err != nil {
		return out
	}
	for _, i := range ifaces {
		for _, p := range i.Addrs {
			out.Here = out.Here || p.Addr().String() == host
		}
	}
	return out
}

// lookUp resolves every host name that the configuration makes this node dial.
func lookUp(ctx context.Context, nw transport.Network, cfg config.Config) []doctor.Name {
	out := []doctor.Name{}
	add := func(key, host string) {
		known := func(n doctor.Name) bool { return n.Host == host }
		if host != "" && net.ParseIP(host) == nil && !slices.ContainsFunc(out, known) {
			out = append(out, doctor.Name{Key: key, Host: host})
		}
	}
	for _, c := range cfg.Cluster.Join {
		host, _, err := net.SplitHostPort(withPort(c))
		if err == nil {
			add("cluster.join", host)
		}
	}
	for _, text := range cfg.Engines {
		if e, err := engine.ParseFlag(text); err == nil && e.URL != nil && !e.Builtin {
			add("engines", e.URL.Hostname())
		}
	}
	var all sync.WaitGroup
	for i := range out {
		all.Go(func() { _, out[i].Err = nw.LookupHost(ctx, out[i].Host) })
	}
	all.Wait()
	return out
}

func (p *physician) raftFacts(v fsm.View) *doctor.Raft {
	st := p.store.Status()
	out := &doctor.Raft{State: st.State, Quorum: st.Quorum(), LastContact: st.LastContact, Voter: slices.Contains(st.Voters, p.self)}
	if st.Leader != "" {
		out.Central = nameOf(v, st.Leader)
	}
	for _, id := range st.Voters {
		name := nameOf(v, id)
		out.Voters = append(out.Voters, name)
		if id != p.self && !p.reachable(id) {
			out.Away = append(out.Away, name)
		}
	}
	return out
}

func nameOf(v fsm.View, id peer.ID) string {
	if n := v.Node(id); n != nil {
		return n.Name
	}
	return id.Short()
}

func versionsOf(v fsm.View) []doctor.Version {
	out := []doctor.Version{}
	for _, n := range v.Nodes() {
		out = append(out, doctor.Version{Node: n.Name, Version: n.Version, Feature: n.FeatureLevel})
	}
	return out
}

func (p *physician) engineFacts() []doctor.Engine {
	out := []doctor.Engine{}
	for _, e := range p.engines {
		st := e.Status()
		out = append(out, doctor.Engine{Name: e.Name(), URL: publicURL(e.Config().URL), Health: st.Health, Since: st.Since, Err: st.Err})
	}
	return out
}

// publicURL is an engine's URL without what may be secret in it.
func publicURL(u *url.URL) string {
	clean := *u
	clean.User, clean.RawQuery, clean.Fragment = nil, "", ""
	return clean.String()
}
