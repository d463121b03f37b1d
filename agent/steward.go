package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/fsm"
)

// The steward is the part of the central node's work that keeps the cluster itself
// in order: Raft's servers follow the node table, voters follow the policy, every
// server has its copy of the data keys, and the feature level rises when all
// servers know it. Each look does one step, so that every step starts from what is
// true now; any of them can be taken up by the next leader.

const (
	stewardEvery = 500 * time.Millisecond
	// A server is caught up when it stayed within this many entries for this long.
	caughtUpLag  = 100
	caughtUpHold = 2 * time.Second
	askTimeout   = time.Second
	voterGrace   = time.Minute
	removalGrace = 1500 * time.Millisecond
)

type steward struct {
	a       *Agent
	close   map[peer.ID]time.Time // since when a non-voter has been within caughtUpLag
	leaving map[peer.ID]time.Time // since when a removed node has been seen in Raft
}

// steward works until ctx, the term, ends.
func (a *Agent) steward(ctx context.Context) error {
	s := &steward{a: a, close: map[peer.ID]time.Time{}, leaving: map[peer.ID]time.Time{}}
	t := time.NewTicker(stewardEvery)
	defer t.Stop()
	for {
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			a.log.Warn().Err(err).Msg("keeping the cluster in order failed and is tried again")
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *steward) look(ctx context.Context) error {
	view := s.a.store.View()
	if view.Cluster() == nil {
		return nil
	}
	for _, step := range []func(context.Context, fsm.View) (bool, error){
		s.dropRemoved, s.addServers, s.moveVoters, s.copyKeys, s.raiseLevel,
	} {
		if done, err := step(ctx, view); done || err != nil {
			return err
		}
	}
	return nil
}

// dropRemoved takes servers out of Raft that are no longer in the node table. A
// leader that was removed gives its role away first.
func (s *steward) dropRemoved(ctx context.Context, view fsm.View) (bool, error) {
	st := s.a.store.Status()
	for _, id := range slices.Concat(st.Voters, st.Nonvoters) {
		if view.Node(id) != nil {
			continue
		}
		if id == s.a.self {
			// It never takes itself out: the entry that does may be in its log alone, which
			// no longer counts, and be longer than that of the only one whose vote does.
			if err := s.a.moveCentral(ctx, ""); err == nil {
				return true, nil
			}
			continue
		}
		if !s.mayGo(id) {
			continue
		}
		s.a.port.CloseConns(id)
		s.a.log.Info().Str(logs.Peer, string(id)).Msg("removing node from raft")
		return true, s.a.store.Remove(ctx, id)
	}
	return false, nil
}

// mayGo gives a removed node that lives the time to learn of it over the connections
// that it still has, so that it stops instead of asking for ever.
func (s *steward) mayGo(id peer.ID) bool {
	since, ok := s.leaving[id]
	if !ok {
		since = s.a.now()
		s.leaving[id] = since
	}
	return !s.alive(id) || s.a.now().Sub(since) >= removalGrace
}

// addServers lets servers of the node table follow the log.
func (s *steward) addServers(ctx context.Context, view fsm.View) (bool, error) {
	st := s.a.store.Status()
	for _, n := range view.Nodes() {
		known := slices.Contains(st.Voters, n.ID) || slices.Contains(st.Nonvoters, n.ID)
		if n.Class == peer.ClassServer && !known {
			s.a.log.Info().Str(logs.Peer, string(n.ID)).Msg("adding node to raft")
			return true, s.a.store.AddNonvoter(ctx, n.ID)
		}
	}
	return false, nil
}

// moveVoters takes one step towards the voters that the policy wants.
func (s *steward) moveVoters(ctx context.Context, view fsm.View) (bool, error) {
	st := s.a.store.Status()
	var servers []placement.Server
	for _, n := range view.Nodes() {
		if n.Class != peer.ClassServer {
			continue
		}
		_, since := s.a.seen(n.ID)
		voter := slices.Contains(st.Voters, n.ID)
		servers = append(servers, placement.Server{
			ID: n.ID, Voter: voter, Leader: n.ID == s.a.self, Since: since,
			Alive: n.ID == s.a.self || s.alive(n.ID) || voter && !s.gone(ctx, n.ID),
		})
	}
	current := slices.Clone(st.Voters)
	slices.Sort(current)
	want := placement.Voters(servers)
	change, ok := placement.Step(current, want, func(id peer.ID) bool { return s.caughtUp(ctx, id, st.LastIndex) })
	if !ok {
		return false, nil
	}
	if change.Promote {
		s.a.log.Info().Str(logs.Peer, string(change.ID)).Msg("promoting node to voter")
		return true, s.a.store.AddVoter(ctx, change.ID)
	}
	s.a.log.Info().Str(logs.Peer, string(change.ID)).Msg("demoting voter")
	return true, s.a.store.Demote(ctx, change.ID)
}

func (s *steward) alive(id peer.ID) bool {
	status, _ := s.a.seen(id)
	return status == peer.StatusAlive || status == peer.StatusSuspect
}

// gone reports whether a voter may lose its place. Gossip alone never decides that:
// it is behind the truth when nodes blink, and a leader that believed it could take
// the votes of servers that follow it. A voter is gone when gossip has not seen it
// for voterGrace and it does not answer a call either.
func (s *steward) gone(ctx context.Context, id peer.ID) bool {
	_, since := s.a.seen(id)
	if since.Before(s.a.started) {
		since = s.a.started
	}
	if s.alive(id) || s.a.now().Sub(since) < voterGrace {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err := s.a.store.Progress(ctx, id)
	return err != nil
}

// caughtUp asks a server how far its log is, and remembers since when it was close.
func (s *steward) caughtUp(ctx context.Context, id peer.ID, last uint64) bool {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	index, err := s.a.store.Progress(ctx, id)
	if err != nil || index+caughtUpLag < last {
		delete(s.close, id)
		return false
	}
	if _, ok := s.close[id]; !ok {
		s.close[id] = s.a.now()
	}
	return s.a.now().Sub(s.close[id]) >= caughtUpHold
}

// copyKeys gives servers the data keys that they lack.
func (s *steward) copyKeys(ctx context.Context, view fsm.View) (bool, error) {
	for _, k := range view.DataKeys() {
		for _, n := range view.Nodes() {
			has := slices.ContainsFunc(k.Wraps, func(w fsm.Wrap) bool { return w.Node == n.ID })
			if has || n.Class != peer.ClassServer || len(n.SealKey) == 0 {
				continue
			}
			wraps, err := s.a.vault.wrapsFor(view, n.ID, n.SealKey)
			if err != nil {
				return false, err
			}
			for _, w := range wraps {
				if w.KeyID != k.ID {
					continue
				}
				_, err = s.a.store.Apply(ctx, s.a.own(&fsm.PutDataKey{KeyID: k.ID, Wraps: []fsm.Wrap{w.Wrap}}))
			}
			return true, err
		}
	}
	return false, nil
}

// raiseLevel allows newer commands once every server knows them.
func (s *steward) raiseLevel(ctx context.Context, view fsm.View) (bool, error) {
	level := uint32(fsm.FeatureLevel)
	for _, n := range view.Nodes() {
		if n.Class == peer.ClassServer {
			level = min(level, n.FeatureLevel)
		}
	}
	if level <= view.Cluster().FeatureLevel {
		return false, nil
	}
	_, err := s.a.store.Apply(ctx, s.a.own(&fsm.RaiseFeatureLevel{To: level}))
	return true, err
}

// seen is gossip's opinion of a node, and since when.
func (a *Agent) seen(id peer.ID) (peer.Status, time.Time) {
	if m := a.gossip.Load(); m != nil {
		if p, ok := m.Peer(id); ok {
			return p.Status, p.Since
		}
	}
	return peer.StatusUnknown, time.Time{}
}

// moveCentral moves the central role to a voter; "" lets it choose another one than the
// one that has it: the live voter with the lowest ID.
func (a *Agent) moveCentral(ctx context.Context, to peer.ID) error {
	st, err := a.store.AwaitLeader(ctx)
	if err != nil {
		return err
	}
	if to == "" {
		for _, id := range st.Voters {
			if id != st.Leader && id != a.self && a.reachable(id) && a.view().Node(id) != nil && (to == "" || id < to) {
				to = id
			}
		}
		if to == "" && !st.IsLeader && slices.Contains(st.Voters, a.self) {
			to = a.self // last, for this node may be about to stop
		}
	}
	switch {
	case to == "" && len(st.Voters) > 2: // this node leads for the rest of its lease, and reaches nobody
		return &consensus.QuorumError{Reachable: 1, Voters: len(st.Voters)}
	case to == "":
		return errors.New("no other live voter can take the central role")
	case to == a.self && st.IsLeader:
		return nil
	case !slices.Contains(st.Voters, to):
		return &fsm.Error{Code: fsm.CodeState, Message: "only a voter can take the central role; usher status shows them"}
	case !st.IsLeader:
		return a.forward.MoveCentral(ctx, st.Leader, to)
	}
	return a.store.Handover(ctx, to)
}
