package admin

import (
	"errors"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// What agents say to each other. Fields that are not known are ignored here, so
// that versions can differ during an upgrade.

// errNoForwarder means that this agent was built to ask no others.
var errNoForwarder = errors.New("no other node can be asked")

// applyRequest carries commands to the leader, at most fsm.MaxEntryItems.
type applyRequest struct{ Items []applyItem }

// applyItem is one command with what the leader checks it by: the token of whoever
// asked, or else the actor that the sender vouches for.
type applyItem struct {
	ID      fsm.CommandID
	Known   uint64
	Kind    string // token, local or node
	Token   string
	Actor   string
	Command []byte // fsm.Encode
}

const (
	actorToken = "token"
	actorLocal = "local"
	actorNode  = "node"
)

func actorName(k fsm.ActorKind) string {
	switch k {
	case fsm.ActorToken:
		return actorToken
	case fsm.ActorLocal:
		return actorLocal
	case fsm.ActorNode:
		return actorNode
	}
	return ""
}

// applyAnswer has one result for each item, in order.
type applyAnswer struct {
	Meta
	Items []applyResult
}

// applyResult is a fsm.Result, or why there is none.
type applyResult struct {
	Revision uint64
	Code     fsm.Code
	Message  string
	Repeated bool
	Problem  *Problem
}

type moveRequest struct {
	To    peer.ID `json:"to"`
	Token string  `json:"token,omitempty"` // of whoever asked; absent: the sender vouches
}

type joinRequest struct {
	Request identity.JoinRequest `json:"request"`
}

// joinAnswer has exactly one of the two.
type joinAnswer struct {
	Meta
	Answer *identity.JoinAnswer `json:"answer,omitempty"`
	Error  *identity.JoinError  `json:"error,omitempty"`
}

type dialBackRequest struct {
	Addr  string `json:"addr"`
	Nonce []byte `json:"nonce"`
}

type dialBackAnswer struct {
	Meta
	Error string `json:"error,omitempty"` // "" when the machine answered
}
