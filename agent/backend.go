package agent

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/door"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// backend is the agent as the admin API sees it.
type backend struct{ *Agent }

var _ admin.Backend = backend{}

func (b backend) View() fsm.View                                 { return b.view() }
func (b backend) Read(ctx context.Context) (fsm.View, error)     { return b.store.Read(ctx) }
func (b backend) ReadHere(ctx context.Context) (fsm.View, error) { return b.store.ReadHere(ctx) }
func (b backend) Self() peer.ID                                  { return b.self }
func (b backend) Peers() []peer.Peer                             { return b.gossip.Load().Peers() }

func (b backend) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	return b.store.Apply(ctx, p)
}

func (b backend) ProposeAll(ctx context.Context, ps []fsm.Proposal) []consensus.Outcome {
	return b.store.ProposeAll(ctx, ps)
}

func (b backend) Nudge(id peer.ID) { b.store.Nudge(id) }

func (b backend) MoveCentral(ctx context.Context, to peer.ID) error { return b.moveCentral(ctx, to) }

func (b backend) LogEnd() (index, term uint64) { return b.store.LogEnd() }

func (b backend) Raft() admin.RaftStatus {
	st := b.store.Status()
	return admin.RaftStatus{
		State: st.State, Leader: st.Leader, Term: st.Term, LastIndex: st.LastIndex, CommitIndex: st.CommitIndex,
		AppliedIndex: st.AppliedIndex, Voters: st.Voters, Nonvoters: st.Nonvoters, Quorum: st.Quorum(),
		LastContact: st.LastContact,
	}
}

func (b backend) Local() admin.Local {
	addrs := b.Addrs()
	out := admin.Local{
		Version: b.opts.Version, Started: b.started, Door: addrs.Door, API: addrs.API,
		Engines: []admin.LocalEngine{}, Warnings: b.notices.list(b.now()),
	}
	var load peer.Load
	if l := b.lastLoad.Load(); l != nil {
		load = *l
	}
	for _, e := range b.engines {
		st := e.Status()
		le := admin.LocalEngine{
			Name: e.Name(), URL: e.Config().URL.String(), Health: st.Health, Since: st.Since, Error: st.Err, Documents: []string{},
		}
		if l, ok := load.Engine(e.Name()); ok {
			le.Sessions, le.InFlight, le.Documents = l.Sessions, l.InFlight, append(le.Documents, l.Documents...)
			if l.Permille >= 0 {
				le.LoadPermille = &l.Permille
			}
		}
		out.Engines = append(out.Engines, le)
	}
	return out
}

func (b backend) Sessions(f admin.LocalFilter) []admin.Session {
	infos := b.door.Sessions(func(s door.SessionInfo) bool {
		return (f.Engine == "" || s.Engine.Name() == f.Engine) &&
			(f.Document == "" || slices.Contains(s.Documents, f.Document))
	})
	out := make([]admin.Session, 0, len(infos))
	for _, s := range infos {
		out = append(out, admin.Session{
			ID: s.ID.String(), Engine: s.Engine, Node: admin.Ref{ID: b.self, Name: b.nodeName()}, User: s.User, Client: s.Client,
			Documents: append([]string{}, s.Documents...), Created: s.Created, LastSeen: s.LastSeen,
			InFlight: s.InFlight, WebSockets: s.WebSockets,
		})
	}
	return out
}

func (b backend) CloseSession(id string) bool {
	sid, err := door.ParseSessionID(id)
	return err == nil && b.door.CloseSession(sid)
}

// RemoveNode refuses to remove a node when the voters that stay would be no
// majority of themselves: the cluster would be stuck at once.
func (b backend) RemoveNode(ctx context.Context, p fsm.Proposal, force bool) (fsm.Result, error) {
	cmd, ok := p.Command.(*fsm.RemoveNode)
	if !ok {
		return fsm.Result{}, fmt.Errorf("remove node: command %T", p.Command)
	}
	st, err := b.store.AwaitLeader(ctx) // without one the count below would say the wrong thing
	if err != nil {
		return fsm.Result{}, err
	}
	voters, alive := 0, 0
	for _, id := range st.Voters {
		if id == cmd.ID || b.view().Node(id) == nil { // the second: removed, on its way out of Raft
			continue
		}
		voters++
		if status, _ := b.seen(id); id == b.self || status == peer.StatusAlive {
			alive++
		}
	}
	if !force && voters == 0 && slices.Contains(st.Voters, cmd.ID) {
		return fsm.Result{}, &fsm.Error{Code: fsm.CodeState, Message: "this is the last server: without it there is no cluster, and settings, tasks and tokens are gone; --force does it all the same"}
	}
	if !force && slices.Contains(st.Voters, cmd.ID) && alive <= voters/2 {
		return fsm.Result{}, &fsm.Error{Code: fsm.CodeState, Message: fmt.Sprintf(
			"without this node only %d of %d voters would be alive, no majority, and nothing could be changed any more: bring the others up first, or remove those that are lost; --force does it all the same", alive, voters)}
	}
	return b.store.Apply(ctx, p)
}

// Admit answers for a node that passed a join request on. The joiner's own address
// is not known here; the one that it advertises is dialled all the same.
func (b backend) Admit(ctx context.Context, r identity.JoinRequest, via peer.ID) (identity.JoinAnswer, *identity.JoinError) {
	if !b.store.Status().IsLeader {
		return identity.JoinAnswer{}, joinError(consensus.ErrNotLeader)
	}
	return b.admit(ctx, r, viaAddr(via))
}

func (b backend) Forget(ctx context.Context, id peer.ID) error { return b.forget(ctx, id) }

func (b backend) DialBack(ctx context.Context, addr string, nonce []byte) error {
	return checkDialBack(ctx, b.nw, addr, nonce)
}

// viaAddr stands for the address of a joiner that another node spoke to.
type viaAddr peer.ID

func (v viaAddr) Network() string { return "usher" }
func (v viaAddr) String() string  { return "via " + string(v) }

var _ net.Addr = viaAddr("")
