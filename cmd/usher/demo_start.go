package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ushercluster/usher/agent/admin"
)

// start makes the cluster and returns when it is whole.
func (d *demo) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStartBound)
	defer cancel()
	if err := d.startNodes(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return failed("try again when the machine has less to do, or with fewer --nodes",
				"the demonstration was not ready within %s", demoStartBound)
		}
		return err
	}
	return d.furnish(ctx)
}

func (d *demo) startNodes(ctx context.Context) error {
	d.progress.say("making a cluster")
	first := d.nodes[0]
	r, err := d.p.machine.Init(ctx, first.cfg, "demo", d.p.now)
	if err != nil {
		return fmt.Errorf("make demonstration cluster: %w", err)
	}
	d.cluster, d.token, d.joinToken = r.ClusterName, r.AdminToken, r.JoinToken
	if err := d.launch(first); err != nil {
		return err
	}
	if err := d.until(ctx, "starting "+first.name, func(ctx context.Context) bool { return d.healthy(ctx, first) }); err != nil {
		return err
	}
	for _, n := range d.nodes[1:] {
		if err := d.launch(n); err != nil {
			return err
		}
	}
	if err := d.until(ctx, fmt.Sprintf("starting %d agents", len(d.nodes)), d.complete); err != nil {
		return err
	}
	// A cluster whose servers do not vote yet cannot lose its first one.
	voters, cancel := context.WithTimeout(ctx, demoVoters)
	defer cancel()
	err = d.until(voters, "the servers become voters", d.voting)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// until looks again and again; a node that ends is the end of it.
func (d *demo) until(ctx context.Context, what string, look func(context.Context) bool) error {
	t := time.NewTicker(demoPoll)
	defer t.Stop()
	for {
		d.progress.say("%s", what)
		if look(ctx) {
			return nil
		}
		select {
		case n := <-d.deaths:
			return d.died(n)
		case <-d.keeper.ended:
			return errKeeper
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (d *demo) client(n *demoNode) (*admin.Client, error) {
	return admin.NewClient(admin.ClientConfig{Address: loopbackURL(n.api), Token: d.token, UserAgent: "usher-demo/" + d.p.build.Version})
}

// healthy reports whether the node answers and has a quorum.
func (d *demo) healthy(ctx context.Context, n *demoNode) bool {
	c, err := d.client(n)
	if err != nil {
		return false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	h, err := c.Health(ctx)
	return err == nil && h.Status == "ok"
}

// status is the cluster as the first node sees it.
func (d *demo) status(ctx context.Context) (admin.Status, bool) {
	c, err := d.client(d.nodes[0])
	if err != nil {
		return admin.Status{}, false
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	s, err := c.Status(ctx)
	return s, err == nil
}

// complete reports whether every node is alive with its engine.
func (d *demo) complete(ctx context.Context) bool {
	for _, n := range d.nodes {
		if !d.healthy(ctx, n) {
			return false
		}
	}
	s, ok := d.status(ctx)
	return ok && s.Counts.NodesAlive == len(d.nodes) && s.Counts.EnginesHealthy == len(d.nodes)
}

func (d *demo) voting(ctx context.Context) bool {
	s, ok := d.status(ctx)
	return ok && s.Servers.Voters >= votersOf(len(d.nodes))
}

// votersOf is how many of n servers vote: the largest odd number up to five, but
// both of two.
func votersOf(n int) int {
	switch {
	case n == 2:
		return 2
	case n >= 5:
		return 5
	}
	return n - (n+1)%2
}

// furnish sets what makes the cluster worth looking at, and learns the nodes' IDs.
func (d *demo) furnish(ctx context.Context) error {
	c, err := d.client(d.nodes[0])
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.SetSetting(ctx, "door.show_node", "true"); err != nil {
		return fmt.Errorf("set door.show_node: %w", err)
	}
	spec := admin.TaskSpec{Document: d.task, Every: admin.Duration(demoTaskEvery)}
	if _, err := c.PutTask(ctx, d.taskName(), spec); err != nil {
		return fmt.Errorf("make task: %w", err)
	}
	ready, err := d.describe(ctx, c)
	if err != nil {
		return err
	}
	d.progress.done()
	return d.writeState(ready)
}

func (d *demo) taskName() string { return "reload-" + d.task }
