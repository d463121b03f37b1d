package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// backend is one node's Backend over the truth.
type backend struct {
	*truth
	self    peer.ID
	forward *Forwarder // what a follower applies and reads through

	mu       sync.Mutex
	sessions []Session
	contact  time.Duration
	moved    []peer.ID
	removed  []bool // force
	forgot   []peer.ID
	readWait bool // reads hang until their context ends
	onApply  func(fsm.Proposal) error
	reads    atomic.Int64 // that a majority had to confirm
	joinErr  *identity.JoinError
	behind   atomic.Pointer[fsm.View] // what this node shows, in place of the truth; nil: it is up to date
}

func (b *backend) View() fsm.View {
	if v := b.behind.Load(); v != nil {
		return *v
	}
	return b.fsm.View()
}

func (b *backend) Self() peer.ID { return b.self }

func (b *backend) state() (leader peer.ID, quorum bool) {
	b.truth.mu.Lock()
	defer b.truth.mu.Unlock()
	return b.leader, b.quorum
}

func (b *backend) Read(ctx context.Context) (fsm.View, error) {
	b.reads.Add(1)
	leader, quorum := b.state()
	switch {
	case b.readWait:
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		<-ctx.Done()
		return fsm.View{}, ctx.Err()
	case !quorum:
		return fsm.View{}, &consensus.QuorumError{Reachable: 1, Voters: 3}
	case leader == "":
		return fsm.View{}, consensus.ErrNoQuorum
	}
	return b.View(), nil
}

func (b *backend) ReadHere(context.Context) (fsm.View, error) {
	leader, quorum := b.state()
	if leader != b.self {
		return fsm.View{}, consensus.ErrNotLeader
	}
	if !quorum {
		return fsm.View{}, consensus.ErrNoQuorum
	}
	return b.View(), nil
}

func (b *backend) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	leader, quorum := b.state()
	if !quorum {
		return fsm.Result{}, &consensus.QuorumError{Reachable: 1, Voters: 3}
	}
	if leader != b.self {
		if p.ID == (fsm.CommandID{}) {
			rand.Read(p.ID[:])
		}
		r, err := b.forward.Apply(ctx, leader, p)
		if err == nil {
			err = r.Err()
		}
		return r, err
	}
	r, err := b.Propose(ctx, p)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

func (b *backend) Nudge(peer.ID) {}

func (b *backend) ProposeAll(ctx context.Context, ps []fsm.Proposal) []consensus.Outcome {
	out := make([]consensus.Outcome, len(ps))
	for i, p := range ps {
		out[i].Result, out[i].Err = b.Propose(ctx, p)
	}
	return out
}

func (b *backend) Propose(_ context.Context, p fsm.Proposal) (fsm.Result, error) {
	if leader, _ := b.state(); leader != b.self {
		return fsm.Result{}, &consensus.NotSentError{Err: consensus.ErrNotLeader}
	}
	if b.onApply != nil {
		if err := b.onApply(p); err != nil {
			return fsm.Result{}, err
		}
	}
	return b.apply(p)
}

func (b *backend) LogEnd() (index, term uint64) { return 40, 3 }

func (b *backend) Raft() RaftStatus {
	leader, quorum := b.state()
	s := RaftStatus{State: "follower", Leader: leader, Term: 3, LastIndex: 40, CommitIndex: 40, AppliedIndex: 40, Voters: []peer.ID{n1, n2}, Nonvoters: []peer.ID{}, Quorum: quorum}
	if !quorum {
		s.Leader = ""
	}
	b.mu.Lock()
	s.LastContact = b.contact
	b.mu.Unlock()
	return s
}

func (b *backend) Peers() []peer.Peer {
	now := b.Now()
	load := peer.Load{Seq: 1, Received: now.Add(-time.Second), CPUPermille: 250, MemFreeBytes: 1 << 30, MemTotalBytes: 4 << 30, Engines: []peer.EngineLoad{
		{Name: "builtin", Health: peer.Healthy, Sessions: 2, InFlight: 1, Permille: -1, Documents: []string{"sales"}},
	}}
	return []peer.Peer{
		{ID: n1, Name: "alpha", Status: peer.StatusAlive, Version: "1.0.0", Load: load, Since: epoch()},
		{ID: n2, Name: "beta", Status: peer.StatusAlive, Version: "1.0.0", Load: load, Since: epoch()},
	}
}

func (b *backend) Local() Local {
	return Local{
		Version: "1.0.0", Started: epoch(), Door: "127.0.0.1:8080", API: "127.0.0.1:14748", Warnings: []string{},
		Engines: []LocalEngine{{Name: "builtin", URL: "http://127.0.0.1:8787", Health: peer.Healthy, Since: epoch(), Sessions: 2, Documents: []string{"sales"}}},
	}
}

func (b *backend) Count() Count {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Count{Sessions: len(b.sessions), Revision: b.View().Revision()}
}

func (b *backend) Sessions(LocalFilter) []Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sessions)
}

func (b *backend) CloseSession(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.sessions)
	b.sessions = slices.DeleteFunc(b.sessions, func(s Session) bool { return s.ID == id })
	return len(b.sessions) < n
}

func (b *backend) MoveCentral(ctx context.Context, to peer.ID) error {
	if leader, _ := b.state(); leader != b.self {
		return b.forward.MoveCentral(ctx, leader, to)
	}
	if to == "" {
		return errors.New("no other live voter can take the central role")
	}
	if to == n3 {
		return &fsm.Error{Code: fsm.CodeState, Message: "only a voter can take the central role"}
	}
	b.truth.mu.Lock()
	b.leader = to
	b.truth.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved = append(b.moved, to)
	return nil
}

func (b *backend) RemoveNode(ctx context.Context, p fsm.Proposal, force bool) (fsm.Result, error) {
	b.mu.Lock()
	b.removed = append(b.removed, force)
	b.mu.Unlock()
	if id := p.Command.(*fsm.RemoveNode).ID; id == n2 && !force {
		return fsm.Result{}, &fsm.Error{Code: fsm.CodeState, Message: "the voters that remain would be no majority"}
	}
	return b.Apply(ctx, p)
}

func (b *backend) Admit(_ context.Context, r identity.JoinRequest, via peer.ID) (identity.JoinAnswer, *identity.JoinError) {
	if b.joinErr != nil {
		return identity.JoinAnswer{}, b.joinErr
	}
	return identity.JoinAnswer{NodeName: r.Name, ClusterName: string(via)}, nil
}

func (b *backend) Forget(_ context.Context, id peer.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgot = append(b.forgot, id)
	return nil
}

func (b *backend) Snapshot(w io.Writer, confirmed bool) error {
	_, err := fmt.Fprintf(w, "snapshot, confirmed %v", confirmed)
	return err
}

func (b *backend) DialBack(_ context.Context, addr string, nonce []byte) error {
	if string(nonce) != "right" {
		return fmt.Errorf("%s is another machine", addr)
	}
	return nil
}
