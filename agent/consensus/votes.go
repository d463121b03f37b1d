package consensus

import (
	"errors"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// ballot is a request for our vote.
type ballot struct {
	term      uint64
	candidate string // its node ID
	end       mark   // of its log
	contested bool   // another asked in the same term
}

// ballots keeps the latest. Its zero value is ready.
type ballots struct {
	mu      sync.Mutex
	last    ballot
	changed bulletin
}

func (b *ballots) heard(req *raft.RequestVoteRequest) {
	now := ballot{term: req.Term, candidate: string(req.ID), end: mark{req.LastLogIndex, req.LastLogTerm}}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case now.term < b.last.term:
		return
	case now.term > b.last.term:
		b.last = now
	case now.candidate != b.last.candidate:
		b.last.contested = true
	}
	b.changed.ring()
}

// latest is the last one of the highest term, and a channel that is closed at the next.
func (b *ballots) latest() (ballot, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last, b.changed.changed()
}

// RequestVote implements raft.Transport.
func (w *wrapper) RequestVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return overFresh(func() error { return w.NetworkTransport.RequestVote(id, to, req, resp) })
}

// RequestPreVote implements raft.WithPreVote.
func (w *wrapper) RequestPreVote(id raft.ServerID, to raft.ServerAddress, req *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return overFresh(func() error { return w.NetworkTransport.RequestPreVote(id, to, req, resp) })
}

// staleWithin is how soon a call over a connection that is gone fails.
const staleWithin = 500 * time.Millisecond

// overFresh asks until it was over a connection that is not one of those kept from
// earlier elections and terms. Raft keeps a few for each server, does not see that they
// ended, and counts a question that got no answer as a vote refused; asked twice, a
// voter says the same.
func overFresh(ask func() error) error {
	began := time.Now()
	for used := 0; ; used++ {
		err := ask()
		if err == nil || used == maxPool || isDial(err) || time.Since(began) > staleWithin {
			return err
		}
	}
}

func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
