package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/scheduler"
)

// openScheduler makes both halves of this node's scheduling; the function that it
// returns ends the watch over gossip.
func (a *Agent) openScheduler() (*scheduler.Scheduler, func(), error) {
	changed, stop := a.gossip.Load().Subscribe()
	s, err := scheduler.New(scheduler.Config{
		Self: a.self, Store: a.store, Peers: a.gossip.Load().Peers, PeersChanged: changed, Run: a.reload,
		Now: a.now, Log: a.log, Registerer: a.registry,
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return s, stop, nil
}

// reload carries out one attempt of a task on an engine of this node.
func (a *Agent) reload(ctx context.Context, j scheduler.Job) scheduler.Outcome {
	for _, e := range a.engines {
		if e.Name() != j.Engine {
			continue
		}
		res, err := e.Reload(ctx, engine.ReloadRequest{
			Document: j.Document, Task: j.Task, Occurrence: j.Due, Attempt: j.Attempt, Fence: j.Fence,
			TimeoutSeconds: int(j.Timeout.Seconds()),
		})
		var refused *engine.ReloadError
		permanent := errors.As(err, &refused) && refused.Permanent
		return scheduler.Outcome{Rows: res.Rows, Took: time.Duration(res.DurationMS) * time.Millisecond, Output: res.Message, Err: err, Permanent: permanent}
	}
	return scheduler.Outcome{Err: fmt.Errorf("this node has no engine %q", j.Engine)}
}
