package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// A node that was removed while it was off, or cut off, learns it from no log entry:
// nobody speaks to it any more. While it hears of no leader it therefore asks.

const (
	standingPause = 3 * time.Second  // without a leader, and between questions
	standingTry   = 2 * time.Second  // for one address
	disownedEvery = 15 * time.Second // with a leader: of servers that are away
	knocksFor     = 5 * time.Second  // a node that is removed while it runs asks once
)

func (a *Agent) removed(id peer.ID) bool { return a.view().Removed(id) }

// standingOf answers a node that asks whether it was removed. One that goes on asking runs
// on, with others that were removed.
func (a *Agent) standingOf(id peer.ID) bool {
	if !a.removed(id) {
		return false
	}
	about, text, now := "removed "+string(id), "", a.now()
	if a.notices.lasting(about, now) > knocksFor {
		text = fmt.Sprintf("a machine that was removed runs on (node ID %s), maybe in another cluster: usher leave --purge there ends that", id)
	}
	a.notices.set(about, text, now)
	return true
}

// watchStanding returns ErrRemoved when a member says that this node was removed, and no
// cluster is left for it. With one it is somebody else who went on alone.
func (a *Agent) watchStanding(ctx context.Context) error {
	for asked := a.now(); ; {
		select {
		case <-time.After(standingPause):
		case <-ctx.Done():
			return nil
		}
		switch now := a.now(); {
		case a.store.Status().Leader == "":
			if a.toldRemoved(ctx) {
				return ErrRemoved
			}
		case now.Sub(asked) >= disownedEvery:
			asked = now
			a.askDisowned(ctx)
		}
	}
}

// askDisowned asks the servers that are away whether they are in another cluster by now:
// after usher recover on one of them, which takes the others to be lost.
func (a *Agent) askDisowned(ctx context.Context) {
	alive := map[peer.ID]bool{a.self: true}
	for _, p := range a.gossip.Load().Peers() {
		alive[p.ID] = p.Status == peer.StatusAlive
	}
	for _, n := range a.view().Nodes() {
		if n.Class != peer.ClassServer || alive[n.ID] {
			continue
		}
		if removed, err := a.askStanding(ctx, n.Addr); err == nil && removed {
			a.log.Error().Str(logs.Peer, string(n.ID)).Str(logs.NodeName, n.Name).Msg("a server goes on in a cluster of its own and has removed this node")
			a.notices.set("disowned "+string(n.ID), fmt.Sprintf("there are two clusters: %s goes on in one of its own and has removed this node, "+
				"as usher recover does; decide for one, and stop the agents of the other and run usher leave --purge on its machines", n.Name), a.now())
		}
	}
}

// toldRemoved asks every address that is known, until one says yes.
func (a *Agent) toldRemoved(ctx context.Context) bool {
	for _, addr := range a.contacts() {
		removed, err := a.askStanding(ctx, addr)
		if removed {
			a.log.Error().Str(logs.Addr, addr).Msg("a member says that this node was removed from the cluster")
			return true
		}
		if err != nil {
			a.log.Debug().Err(err).Str(logs.Addr, addr).Msg("cannot ask whether this node was removed")
		}
	}
	return false
}

func (a *Agent) askStanding(ctx context.Context, addr string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, standingTry)
	defer cancel()
	conn, err := a.port.Dial(ctx, transport.Target{Addr: addr}, transport.ProtoJoin)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	return identity.AskStanding(ctx, conn, a.self)
}
