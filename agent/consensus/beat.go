package consensus

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/consensus/pulse"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// This file connects Raft and the pulse.

const (
	serversEvery  = time.Second // how often the pulse looks who the servers are
	redialEvery   = 500 * time.Millisecond
	redialTimeout = time.Second
)

func (s *Store) newPulse() *pulse.Hub {
	return pulse.New(pulse.Config{
		Self: s.cfg.Self, Boot: s.cfg.Pulse.Boot, Listener: s.cfg.Pulse.Listener, Remote: s.cfg.Pulse.Remote, Dial: s.cfg.Pulse.Dial,
		Peers: s.others, Facts: s.facts, Now: s.cfg.Now,
		Read: s.confirmHere, Gone: s.gone, Stand: s.standFor, Up: s.linkUp, Down: s.linkDown, Restarted: s.restarted,
		Log: s.log.With().Str(logs.Component, "pulse").Logger(), Registerer: s.cfg.Registerer,
	})
}

// keepPulse runs the pulse, and tells it to look at the servers now and then: a snapshot
// may have brought others.
func (s *Store) keepPulse() {
	s.wg.Go(func() {
		t := time.NewTicker(serversEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				s.pulse.Changed()
			case <-s.stop:
				return
			}
		}
	})
	if err := s.pulse.Run(s.life); err != nil {
		s.cfg.Fatal(err)
	}
}

// machine is the state machine, and tells when Raft's configuration has changed and how
// far it is.
type machine struct {
	fsm.Raft
	reconfigured func()
	applied      *progress
}

// ApplyBatch implements raft.BatchingFSM.
func (m machine) ApplyBatch(entries []*raft.Log) []any {
	for _, e := range entries {
		if e.Type == raft.LogConfiguration {
			m.reconfigured()
		}
	}
	if hold := m.applied.hold.Load(); hold != nil {
		(*hold)()
	}
	out := m.Raft.ApplyBatch(entries)
	m.applied.reach(entries[len(entries)-1].Index)
	return out
}

// progress is the index of Raft's log up to which everything has been applied to the state.
// raft's AppliedIndex counts what was handed over. Entries that reach no state machine,
// barriers and those that begin a term, do not move it: whoever waited for a barrier
// does. Its zero value is ready.
type progress struct {
	at    atomic.Uint64
	moved bulletin
	hold  atomic.Pointer[func()] // tests let the state lag behind
}

func (p *progress) reach(index uint64) {
	for old := p.at.Load(); index > old; old = p.at.Load() {
		if p.at.CompareAndSwap(old, index) {
			p.moved.ring()
			return
		}
	}
}

// wait returns when everything up to an index has been applied.
func (p *progress) wait(ctx context.Context, index uint64) error {
	for p.at.Load() < index { // nearly never
		moved := p.moved.changed()
		if p.at.Load() >= index {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("wait until entry %d is applied: %w", index, ctx.Err())
		}
	}
	return nil
}

// Restore implements raft.FSM.
func (m machine) Restore(r io.ReadCloser) error {
	unlimit(r)
	return m.Raft.Restore(r)
}

// others are the servers of Raft's configuration but this one.
func (s *Store) others() []peer.ID {
	var out []peer.ID
	for _, srv := range s.servers() {
		if id := peer.ID(srv.ID); id != s.cfg.Self {
			out = append(out, id)
		}
	}
	return out
}

// facts are how far this server is. The log's end is taken first: an answer must not
// show a term that is older than the log that it shows.
func (s *Store) facts() pulse.Facts {
	end := s.logEnd()
	return pulse.Facts{Term: s.raft.CurrentTerm(), LastTerm: end.term, LastIndex: end.index, Revision: s.cfg.FSM.View().Revision()}
}

// logEnd is the last entry of the log, or of the snapshot if that is later.
func (s *Store) logEnd() mark {
	known := s.guard.end.Load()
	if known != nil && known.index >= s.raft.LastIndex() {
		return *known
	}
	end, err := s.cfg.Stores.end() // after a start, or a snapshot from the leader
	if err != nil {
		s.log.Warn().Err(err).Msg("the end of the log cannot be read")
		return mark{}
	}
	s.guard.end.CompareAndSwap(known, &end) // the log may have moved meanwhile, and been cut
	return end
}

// awaitUp holds entries back for a server that is away, while this node leads the same
// term. A server that has yet to learn who its peers are has no pulse, but can be
// dialled.
func (s *Store) awaitUp(id raft.ServerID) {
	t := s.term.now()
	if t.ctx == nil {
		return
	}
	ctx, end := context.WithCancel(t.ctx)
	defer end()
	defer context.AfterFunc(s.life, end)()
	for ctx.Err() == nil {
		up, cancel := s.pulse.AwaitUp(peer.ID(id))
		if up == nil || s.canDial(ctx, peer.ID(id)) {
			cancel()
			return
		}
		pauseFor(ctx, up, redialEvery)
		cancel()
	}
}

func (s *Store) canDial(ctx context.Context, id peer.ID) bool {
	ctx, cancel := context.WithTimeout(ctx, redialTimeout)
	defer cancel()
	c, err := s.cfg.Dial(ctx, id)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

// linkUp hears that a server is reached. If it was lost before, what was sent to it on
// older connections may hang in retransmissions, of a network that is whole again.
func (s *Store) linkUp(id peer.ID) {
	if _, lost := s.lost.LoadAndDelete(id); lost {
		s.spawn(func() { s.stream.hangUp(id) })
	}
}
