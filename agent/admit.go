package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport"
)

// maxClockSkew is how far a joining machine's clock may be off.
const maxClockSkew = 30 * time.Second

// admit decides on a join request, at the central node; every other server passes
// the request on to it. Everything that can be refused is refused before the token
// is used, and the certificate is signed after the commit.
func (a *Agent) admit(ctx context.Context, r identity.JoinRequest, remote net.Addr) (identity.JoinAnswer, *identity.JoinError) {
	if !a.store.Status().IsLeader {
		return a.passOn(ctx, r)
	}
	view, err := a.store.ReadHere(ctx)
	if err != nil {
		return identity.JoinAnswer{}, joinError(err)
	}
	if refused := a.checkJoin(view, r); refused != nil {
		a.log.Warn().Str(logs.Addr, remote.String()).Str("token", r.TokenID).Str("code", string(refused.Code)).Msg("join refused")
		return identity.JoinAnswer{}, refused
	}
	warning := checkDialBack(ctx, a.nw, r.Advertise, r.Nonce)
	answer, err := a.letIn(ctx, view, r)
	if err != nil {
		return identity.JoinAnswer{}, joinError(err)
	}
	if warning != nil {
		answer.Warnings = append(answer.Warnings, warning.Error()+": the other nodes will not reach this one; give the right address with --advertise")
	}
	a.log.Info().Str(logs.Peer, string(r.NodeID)).Str(logs.NodeName, r.Name).Str(logs.Addr, r.Advertise).Msg("node joined")
	return answer, nil
}

// checkJoin refuses what no commit is needed for.
func (a *Agent) checkJoin(view fsm.View, r identity.JoinRequest) *identity.JoinError {
	tok := view.JoinToken(r.TokenID)
	if tok == nil || !r.MatchHash(tok.Hash) {
		return &identity.JoinError{Code: identity.JoinBadToken, Message: "the join token is not known to this cluster", Next: "make a new one with: usher join-token create"}
	}
	hash, err := r.KeyHash()
	if err != nil {
		return &identity.JoinError{Code: identity.JoinBadRequest, Message: err.Error()}
	}
	if err := view.CheckJoinToken(r.TokenID, r.NodeID, hash[:], fsm.StampOf(a.now())); err != nil {
		return joinError(err)
	}
	if off := a.now().Sub(r.Time).Abs(); off > maxClockSkew {
		return &identity.JoinError{
			Code:    identity.JoinClockSkew,
			Message: fmt.Sprintf("this machine's clock is %s off the cluster's (at most %s is allowed)", off.Round(time.Second), maxClockSkew),
			Next:    "set the clock, best by NTP, and join again",
		}
	}
	if level := view.Cluster().FeatureLevel; r.FeatureLevel < level {
		return &identity.JoinError{
			Code:    identity.JoinUpgrade,
			Message: fmt.Sprintf("the cluster is at feature level %d, this usher knows %d", level, r.FeatureLevel),
			Next:    "install the cluster's version of usher on this machine",
		}
	}
	return nil
}

// letIn commits the node and signs its certificate.
func (a *Agent) letIn(ctx context.Context, view fsm.View, r identity.JoinRequest) (identity.JoinAnswer, error) {
	hash, err := r.KeyHash()
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	wraps, err := a.vault.wrapsFor(view, r.NodeID, r.SealKey)
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	ca, err := a.vault.ca(view)
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	_, err = a.store.Apply(ctx, a.own(&fsm.AdmitNode{
		TokenID: r.TokenID, Wraps: wraps,
		Node: fsm.Node{
			ID: r.NodeID, Name: r.Name, Class: r.Class, Addr: r.Advertise, Door: r.Door, Weight: defaultWeight,
			SealKey: r.SealKey, KeyHash: hash[:], FeatureLevel: r.FeatureLevel, Version: r.UsherVersion,
		},
	}))
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	if err := a.store.AddNonvoter(ctx, r.NodeID); err != nil {
		// The steward does it at its next look.
		a.log.Warn().Err(err).Str(logs.Peer, string(r.NodeID)).Msg("cannot add the new node to raft yet")
	}
	id := transport.Identity{Cluster: view.Cluster().UUID, Class: r.Class, ID: r.NodeID}
	leaf, err := ca.Issue(r.CSR, id, a.now(), certificateLife)
	if err != nil {
		return identity.JoinAnswer{}, err
	}
	return a.joinAnswer(r, leaf, ca.CertDER()), nil
}

func (a *Agent) joinAnswer(r identity.JoinRequest, leaf, ca []byte) identity.JoinAnswer {
	view := a.store.View()
	c := view.Cluster()
	out := identity.JoinAnswer{
		ClusterID: c.UUID, ClusterName: c.Name, Chain: [][]byte{leaf, ca}, Roots: c.Roots, NodeName: r.Name,
	}
	for _, n := range view.Nodes() {
		if n.ID != r.NodeID && n.Addr != "" && len(out.Contacts) < 16 {
			out.Contacts = append(out.Contacts, n.Addr)
		}
	}
	return out
}

// passOn hands a join request to the central node.
func (a *Agent) passOn(ctx context.Context, r identity.JoinRequest) (identity.JoinAnswer, *identity.JoinError) {
	leader := a.store.Status().Leader
	if leader == "" || leader == a.self {
		return identity.JoinAnswer{}, joinError(consensus.ErrNoQuorum)
	}
	answer, err := a.forward.Join(ctx, leader, r)
	var refused *identity.JoinError
	switch {
	case errors.As(err, &refused):
		return identity.JoinAnswer{}, refused
	case err != nil:
		return identity.JoinAnswer{}, joinError(err)
	}
	return answer, nil
}

// joinError turns an error into what the joining machine is told.
func joinError(err error) *identity.JoinError {
	code := identity.JoinInternal
	switch {
	case fsm.IsCode(err, fsm.CodeExpired):
		code = identity.JoinExpired
	case fsm.IsCode(err, fsm.CodeExhausted):
		code = identity.JoinUsedUp
	case fsm.IsCode(err, fsm.CodeRevoked):
		code = identity.JoinRevoked
	case fsm.IsCode(err, fsm.CodeExists):
		code = identity.JoinNameTaken
	case fsm.IsCode(err, fsm.CodeRemoved):
		code = identity.JoinRemoved
	case fsm.IsCode(err, fsm.CodeInvalid):
		code = identity.JoinBadRequest
	case fsm.IsCode(err, fsm.CodeNotFound):
		code = identity.JoinBadToken
	case errors.Is(err, consensus.ErrNoQuorum), errors.Is(err, consensus.ErrUnknown),
		errors.Is(err, consensus.ErrNotLeader), errors.Is(err, context.DeadlineExceeded):
		return &identity.JoinError{Code: identity.JoinNoQuorum, Message: "the cluster has no quorum now: " + err.Error(), Next: "it is tried again by itself"}
	}
	return &identity.JoinError{Code: code, Message: err.Error()}
}

// own is a proposal of this agent itself.
func (a *Agent) own(c fsm.Command) fsm.Proposal {
	return fsm.Proposal{Actor: fsm.Actor{Kind: fsm.ActorNode, ID: string(a.self), Via: peer.ID(a.self)}, Command: c}
}
