package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/logs"
)

func (p *program) agentCommand() *cli.Command {
	demo := text("demo", "DIR", "part of the demonstration in DIR: ends with it")
	demo.Hidden = true
	return &cli.Command{
		Name: "agent", Usage: "run this node",
		Description: "Every flag can stand in the file too, and in the environment: a flag beats the environment, that beats the file, and that the default. A machine that is no node yet joins with --join. SIGTERM and SIGINT let requests end and then stop; a second signal stops at once.",
		Flags:       append(configFlags(), toggle("print-config", "print the configuration in force, with the origin of each value, and end"), demo),
		Action:      p.agentRun,
	}
}

func (p *program) agentRun(c *cli.Context) error {
	if err := exactly(0).check(c); err != nil {
		return err
	}
	watch, err := p.followDemo(c.String("demo"))
	if err != nil {
		return err
	}
	defer watch.Close()
	cfg, origins, err := p.configure(c)
	if c.Bool("print-config") && origins != nil {
		return errors.Join(cfg.Print(p.stdout, origins), err)
	}
	if err != nil {
		return err
	}
	if p.terminal.err && origins["log.format"] == "" {
		cfg.Log.Format = string(logs.Console)
	}
	ring := new(logs.Ring)
	log, level, err := p.logger(cfg, ring)
	if err != nil {
		return err
	}
	ctx, release := watch.context(c.Context)
	defer release()
	a, err := heed(ctx, func() (running, error) {
		if err := p.becomeNode(ctx, cfg, log); err != nil {
			return nil, err
		}
		return p.machine.Open(cfg, agent.Options{Now: p.now, Log: log, Level: level, Ring: ring, NoDetection: noDetection(p.env)})
	})
	if err != nil {
		return err
	}
	return p.serve(c.Context, a, serving{over: watch.over, bound: cfg.Stop.Timeout + stopGrace, log: log})
}

func (p *program) logger(cfg config.Config, also ...io.Writer) (zerolog.Logger, *logs.Level, error) {
	l, err := logs.ParseLevel(cfg.Log.Level)
	if err != nil {
		return zerolog.Logger{}, nil, err
	}
	level := logs.NewLevel(l)
	log, err := logs.New(p.stderr, logs.Format(cfg.Log.Format), level, p.now, also...)
	return log, level, err
}

// becomeNode joins when the data directory belongs to no node yet.
func (p *program) becomeNode(ctx context.Context, cfg config.Config, log zerolog.Logger) error {
	has, err := p.machine.HasIdentity(cfg.DataDir)
	if has || err != nil {
		return err
	}
	if lost := lostCertificate(cfg.DataDir); lost != "" {
		return permanent("put it back from a copy of this directory; or, on another server, usher join-token create --replace NODE, and here usher leave --purge and join with that token",
			"%s is missing: without it this directory is no node, though one has run here", lost)
	}
	if len(cfg.Cluster.Join) == 0 {
		return permanent("make a cluster with usher init, or join one with usher agent --join HOST", "there is no node in %s", cfg.DataDir)
	}
	answer, err := p.join(ctx, cfg, func(line string) { log.Info().Str("progress", line).Msg("joining") })
	if err != nil {
		return err
	}
	log.Info().Str("cluster", answer.ClusterName).Strs("warnings", answer.Warnings).Msg("joined")
	return nil
}

// heed runs f, which waits for nothing longer than ctx lasts. If it does all the same,
// it is left behind after a moment: the process ends around it. When ctx ended, its
// cause is why f failed.
func heed[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var r result
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r = <-done:
	case <-ctx.Done():
		select {
		case r = <-done:
		case <-time.After(stopGrace):
			r.err = ctx.Err()
		}
	}
	if r.err != nil && ctx.Err() != nil {
		return r.v, context.Cause(ctx)
	}
	return r.v, r.err
}

// serving is what serve needs beside the agent.
type serving struct {
	over  <-chan struct{} // closed: stop; nil never is
	bound time.Duration   // of an orderly stop
	log   zerolog.Logger
}

// serve runs the agent until it fails, a signal comes or over is closed. A second
// signal, or a stop that takes longer than its bound, does not wait for the agent:
// the process ends.
func (p *program) serve(parent context.Context, a running, s serving) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	if _, set := p.env("GOGC"); !set { // else the operator has decided
		defer paceCollector(func(percent int) { debug.SetGCPercent(percent) }).stop()
	}
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	n, err := newNotifier(p.env)
	if err != nil {
		s.log.Warn().Err(err).Msg("the service manager cannot be told")
	}
	defer n.Close()
	stopDog := n.watch(ctx, a.Addrs())
	defer stopDog()

	ready, stopping, patience := a.Ready(), a.Stopping(), time.After(readyPatience)
	var late <-chan time.Time // not nil once stopping
	var asked time.Time
	stop := func() {
		n.say("STOPPING=1")
		cancel()
		late = time.After(s.bound)
	}
	for {
		select {
		case err := <-ended:
			return err
		case <-late:
			return failed("look into the log for what it waited for", "the agent did not stop within %s", s.bound)
		case <-stopping: // by itself: it may hang with its disk
			if stopping = nil; late == nil {
				late = time.After(s.bound)
			}
		case <-ready:
			ready = nil
			n.say("READY=1\nSTATUS=" + addresses(a.Addrs()))
			s.log.Info().Str("door", a.Addrs().Door).Str("api", a.Addrs().API).Msg("ready")
		case <-patience:
			if ready != nil {
				// The door serves from what the node remembers; a service manager that
				// killed it now would only keep the cluster from gathering.
				n.say("READY=1\nSTATUS=waiting for a quorum")
			}
		case sig := <-p.signals:
			if late != nil && time.Since(asked) < signalEcho {
				continue
			}
			if late != nil {
				return failed("", "stopped at once by a second signal (%s)", sig)
			}
			s.log.Info().Str("signal", sig.String()).Msg("stopping; a second signal stops at once")
			asked = time.Now()
			stop()
		case <-s.over:
			s.over = nil
			if late == nil {
				stop()
			}
		}
	}
}

// stopGrace is what an orderly stop may take beyond the time for users' requests.
const stopGrace = 5 * time.Second

// signalEcho is how soon a second signal is the first one again: timeout(1) and
// shells signal a process and then its group.
const signalEcho = 500 * time.Millisecond

// readyPatience is how long the service manager is kept waiting for a quorum.
const readyPatience = 20 * time.Second

func addresses(a agent.Addrs) string {
	parts := []string{"door " + a.Door}
	if a.API != "" {
		parts = append(parts, "admin API "+a.API)
	}
	return fmt.Sprintf("%s, cluster port %s", strings.Join(parts, ", "), a.Advertise)
}
