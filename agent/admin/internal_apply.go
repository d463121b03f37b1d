package admin

import (
	"errors"
	"net/http"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// internalApply proposes what other agents send, each item checked as if its caller
// had come here.
func internalApply(c *call, in applyRequest) (applyAnswer, error) {
	if err := c.leads(); err != nil {
		return applyAnswer{}, err
	}
	if n := len(in.Items); n == 0 || n > fsm.MaxEntryItems {
		return applyAnswer{}, malformed("give 1 to 256 items", "")
	}
	v := c.s.cfg.Backend.View()
	out := applyAnswer{Items: make([]applyResult, len(in.Items))}
	ready, place := make([]fsm.Proposal, 0, len(in.Items)), make([]int, 0, len(in.Items))
	confirmed := false
	known := knownCaller{}
	for i, it := range in.Items {
		p, refused := c.accept(v, it, &known)
		if refused != nil && refused.Status == http.StatusUnauthorized && !confirmed {
			// A leader that has just been elected may not have seen the token yet.
			if now, err := c.s.cfg.Backend.ReadHere(c.bounded()); err == nil {
				v, confirmed = now, true
				known = knownCaller{}
				p, refused = c.accept(v, it, &known)
			}
		}
		if refused != nil {
			out.Items[i].Problem = refused
			continue
		}
		ready, place = append(ready, p), append(place, i)
	}
	for i, o := range c.s.cfg.Backend.ProposeAll(c.bounded(), ready) {
		out.Items[place[i]] = resultOf(o)
	}
	c.s.cfg.Backend.Nudge(c.who.peer) // it wants to answer from its own state
	return out, nil
}

func resultOf(o consensus.Outcome) applyResult {
	r, err := o.Result, o.Err
	var refused *fsm.Error
	var notSent *consensus.NotSentError
	switch {
	case errors.As(err, &refused):
		return applyResult{Revision: refused.Revision, Code: refused.Code, Message: refused.Message, Repeated: r.Repeated}
	case errors.Is(err, consensus.ErrBusy):
		return applyResult{Problem: busy()}
	case errors.As(err, &notSent):
		return applyResult{Problem: notLeader()}
	case err != nil:
		return applyResult{Problem: problem(http.StatusGatewayTimeout, CodeUnknownOutcome, err.Error(), "")}
	}
	return applyResult{Revision: r.Revision, Code: r.Code, Message: r.Message, Repeated: r.Repeated}
}

// accept turns an item into a proposal, or refuses it.
func (c *call) accept(v fsm.View, it applyItem, known *knownCaller) (fsm.Proposal, *Problem) {
	cmd, err := fsm.Decode(it.Command)
	if it.ID == (fsm.CommandID{}) || err != nil {
		return fsm.Proposal{}, invalid("the command is malformed, or newer than this usher", "upgrade usher on every server")
	}
	actor, refused := c.s.authorise(v, c.now(), peerIdentity{c.who.peer, c.who.class}, it, cmd, known)
	if refused != nil {
		return fsm.Proposal{}, refused
	}
	return fsm.Proposal{ID: it.ID, Known: it.Known, Actor: actor, Command: cmd}, nil
}

// knownCaller is the last token of a flight that was looked up, in one view of the state:
// most commands of a flight come from one program.
type knownCaller struct {
	text string
	who  caller
	why  string
}

func (k *knownCaller) check(s *Server, v fsm.View, text string, now time.Time) (caller, string) {
	if k.text != text {
		k.text = text
		k.who, k.why = s.proven.check(v, text, now)
	}
	return k.who, k.why
}

// authorise decides who an item's actor is and whether it may propose the command.
//
//	token  whoever holds it, by its role; never what an agent says of itself
//	local  somebody on the sender's own socket: a server's word is good for that
//	node   the sender itself, about itself
//
// Nothing else is accepted; commands of the leader's own are never forwarded.
func (s *Server) authorise(v fsm.View, now time.Time, from peerIdentity, it applyItem, cmd fsm.Command, known *knownCaller) (fsm.Actor, *Problem) {
	kind := fsm.KindOf(cmd)
	byOperator := kind.Proposer() == fsm.ByOperator && kind.Role() != ""
	switch {
	case it.Token != "":
		who, why := known.check(s, v, it.Token, now)
		if why != "" {
			return fsm.Actor{}, unauthenticated(why)
		}
		if byOperator && who.role.Includes(kind.Role()) {
			return who.actor(from.id), nil
		}
	case it.Kind == actorLocal:
		if byOperator && from.class == peer.ClassServer && printable(it.Actor) && len(it.Actor) <= fsm.MaxNameBytes {
			return fsm.Actor{Kind: fsm.ActorLocal, ID: it.Actor, Via: from.id}, nil
		}
	case it.Kind == actorNode:
		speaker, ok := cmd.(fsm.Speaker)
		if ok && kind.Proposer() == fsm.ByAgent && speaker.Speaks() == string(from.id) {
			return fsm.Actor{Kind: fsm.ActorNode, ID: string(from.id), Via: from.id}, nil
		}
	}
	return fsm.Actor{}, problem(http.StatusForbidden, CodeDenied, "the caller may not propose "+kind.String(), "")
}
