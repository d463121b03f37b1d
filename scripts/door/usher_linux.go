package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/ushercluster/usher/scripts/bench"
)

// openUsher starts one agent beside the engine, or two of which users come to the other
// one. The whole door is on, limits of connections as well.
func (d *driver) openUsher(ctx context.Context, s stage, dir string) (t target, err error) {
	cfg := bench.UsherConfig{Binary: d.usher, Dir: dir, Nodes: s.Agents, Engines: []string{"bench=http://" + d.engine}}
	if s.TLS {
		cfg.Flags = []string{"--door-cert", d.identity.cert, "--door-key", d.identity.key}
	}
	u, err := bench.OpenUsher(ctx, cfg)
	if err != nil {
		return t, err
	}
	key, value := "door.max_connections_per_address", strconv.Itoa(d.users())
	if _, err := u.Agents[0].Client.SetSetting(ctx, key, value); err != nil {
		return t, errors.Join(fmt.Errorf("set %s: %w", key, err), u.Close())
	}
	last := u.Agents[len(u.Agents)-1]
	return target{
		address: last.Door, pids: u.PIDs(), close: u.Close,
		words: func() string {
			var out []string
			for _, a := range u.Agents {
				out = append(out, a.Words())
			}
			return strings.Join(out, "\n")
		},
	}, nil
}

// knowsTLS reports whether this usher's door speaks TLS.
func (d *driver) knowsTLS(ctx context.Context) (bool, error) {
	help, err := exec.CommandContext(ctx, d.usher, "agent", "--help").Output()
	if err != nil {
		return false, fmt.Errorf("ask usher for its flags: %w", err)
	}
	return strings.Contains(string(help), "--door-cert"), nil
}
