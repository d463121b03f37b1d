package main

import (
	"context"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent/admin"
)

func (p *program) demoEnvRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	s, found := newestDemo(os.TempDir(), c.Int("port-base"))
	switch {
	case !found && c.Int("port-base") != 0:
		return failed("start it with usher demo --port-base", "no demonstration runs at ports from %d on", c.Int("port-base"))
	case !found:
		return failed("start one with usher demo", "no demonstration runs on this machine, or not for this user")
	case !s.ready():
		return failed("try again when it says that it is one cluster", "the demonstration at ports from %d on (process %d) is still starting", s.PortBase, s.PID)
	}
	address := liveAPI(c.Context, s.Ready.Nodes)
	env := map[string]string{"USHER_ADDRESS": address, "USHER_TOKEN": s.Ready.Token}
	return p.emit(c, env, func(o *printer) {
		for _, name := range []string{"USHER_ADDRESS", "USHER_TOKEN"} {
			if p.facts.Windows {
				o.line("$env:%s = '%s'", name, env[name])
				continue
			}
			o.line("export %s=%s", name, shellQuote(env[name]))
		}
	})
}

// newestDemo is the newest one that is ready, of all or of those at base; when none
// is, the newest that is still starting.
func newestDemo(temp string, base int) (demoState, bool) {
	var best demoState
	found := false
	for _, dir := range demoDirs(temp) {
		s, err := readDemo(dir)
		if err != nil || base != 0 && s.PortBase != base {
			continue
		}
		if held, _ := leashHeld(dir); !held { // an error too is no demonstration to point at
			continue
		}
		if !found || s.ready() && !best.ready() || s.ready() == best.ready() && s.Began.After(best.Began) {
			best, found = s, true
		}
	}
	return best, found
}

// liveAPI is the first node that answers: the user may have killed some. When none
// does, the first will say so.
func liveAPI(ctx context.Context, nodes []readyNode) string {
	for _, n := range nodes {
		c, err := admin.NewClient(admin.ClientConfig{Address: n.API})
		if err != nil {
			continue
		}
		try, cancel := context.WithTimeout(ctx, time.Second)
		_, err = c.Health(try)
		cancel()
		c.Close()
		if err == nil {
			return n.API
		}
	}
	return nodes[0].API
}
