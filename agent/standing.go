package agent

import (
	"context"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport"
)

// A node that was removed while it was off, or cut off, learns it from no log entry:
// nobody speaks to it any more. While it hears of no leader it therefore asks.

const (
	standingPause = 3 * time.Second // without a leader, and between questions
	standingTry   = 2 * time.Second // for one address
)

func (a *Agent) removed(id peer.ID) bool { return a.view().Removed(id) }

// watchStanding returns ErrRemoved when a member says that this node was removed.
func (a *Agent) watchStanding(ctx context.Context) error {
	for {
		select {
		case <-time.After(standingPause):
		case <-ctx.Done():
			return nil
		}
		if a.store.Status().Leader == "" && a.toldRemoved(ctx) {
			return ErrRemoved
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
