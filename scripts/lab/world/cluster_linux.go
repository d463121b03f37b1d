package world

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// askWithin bounds one question to an agent.
const askWithin = 2 * time.Second

// ok is nil when the agent says that so many servers vote and are all reachable, and all
// engines are healthy.
func (n *Node) ok(ctx context.Context, nodes int) error {
	if !n.Running() {
		return fmt.Errorf("%s does not run; its last words: %s", n.Name, n.words())
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	s, err := n.Client.Status(ctx, admin.Stale())
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", n.Name, err)
	case !s.Quorum:
		return fmt.Errorf("%s has no quorum", n.Name)
	case s.Servers.Voters != votersOf(nodes), s.Servers.Reachable != s.Servers.Voters:
		return fmt.Errorf("%s reaches %d of %d voters; %d are wanted", n.Name, s.Servers.Reachable, s.Servers.Voters, votersOf(nodes))
	case s.Counts.EnginesHealthy != nodes:
		return fmt.Errorf("%s knows of %d healthy engines, not %d", n.Name, s.Counts.EnginesHealthy, nodes)
	}
	for _, r := range append(s.Raft.Voters, s.Raft.Nonvoters...) {
		if n.w.Find(r.Name) == nil {
			return fmt.Errorf("%s does not know the name of %s yet", n.Name, r.ID)
		}
	}
	return nil
}

// votersOf is the cluster's policy: the largest odd number, at most five, and two of two.
func votersOf(nodes int) int {
	switch {
	case nodes <= 2:
		return nodes
	case nodes >= 5:
		return 5
	}
	return nodes - (nodes+1)%2
}

// Whole waits until every agent says that everything is there, and all agree on the
// central node and have the state that it has.
func (w *World) Whole(ctx context.Context, limit time.Duration) error {
	return Until(ctx, limit, "the cluster is whole", func(ctx context.Context) error {
		for _, n := range w.Nodes {
			if err := n.ok(ctx, len(w.Nodes)); err != nil {
				return err
			}
		}
		_, err := w.agreed(ctx)
		return err
	})
}

// Leader is the node that all running agents but these agree is the central one.
func (w *World) Leader(ctx context.Context, except ...*Node) (*Node, error) {
	var found *Node
	err := Until(ctx, 30*time.Second, "the agents agree on a central node", func(ctx context.Context) (err error) {
		found, err = w.agreed(ctx, except...)
		return err
	})
	return found, err
}

var errNobodyLeads = errors.New("no central node is known")

func (w *World) agreed(ctx context.Context, except ...*Node) (*Node, error) {
	var found *Node
	for _, n := range w.Others(except...) {
		if !n.Running() {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, askWithin)
		c, err := n.Client.Central(ask, admin.Stale())
		cancel()
		if err != nil {
			return nil, err
		}
		if c.Node == nil || !c.Quorum {
			return nil, errNobodyLeads
		}
		at := w.Find(c.Node.Name)
		if at == nil || found != nil && at != found {
			return nil, fmt.Errorf("%s says that %s leads, others do not", n.Name, c.Node.Name)
		}
		found = at
	}
	if found == nil || !found.Running() {
		return nil, errNobodyLeads
	}
	for _, e := range except {
		if e == found {
			return nil, fmt.Errorf("%s still counts as the central node", found.Name)
		}
	}
	return found, nil
}

// Written waits until a write is acknowledged by some node, and returns how long that
// took. The write is a name for the cluster, of which nothing else here takes notice.
func (w *World) Written(ctx context.Context, limit time.Duration, nodes []*Node) (time.Duration, error) {
	began, i := time.Now(), 0
	err := Until(ctx, limit, "a write is acknowledged", func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		i++
		_, err := nodes[i%len(nodes)].Client.RenameCluster(ctx, fmt.Sprintf("laboratory-%d", time.Now().UnixNano()))
		return err
	})
	return time.Since(began), err
}

// Until tries every 50 ms until there is no error, at most for the time; then the last
// one is in the error.
func Until(ctx context.Context, limit time.Duration, what string, try func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last error
	for {
		err := try(bounded)
		if err == nil {
			return nil
		}
		if last == nil || bounded.Err() == nil {
			last = err // not the one that the end of our patience made
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-bounded.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("waited %s, in vain, until %s: %w", limit, what, last)
		}
	}
}
