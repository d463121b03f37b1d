package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ushercluster/usher/scripts/bench"
)

// driver starts proxies one after the other and has them loaded.
type driver struct {
	options
	dir         string
	progress    io.Writer
	descriptors int    // that a process may have open
	engine      string // address of the backend
	tls         bool   // usher's door speaks it
	identity    identity
	versions    []string
	skipped     []string
	results     results
}

// measure goes through the rounds.
func (d *driver) measure(ctx context.Context) (err error) {
	if err := d.prepare(ctx); err != nil {
		return err
	}
	backend, err := d.startBackend(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backend.Stop()) }()
	for round := range d.rounds {
		for _, p := range inTurn(d.peers, round) {
			fmt.Fprintf(d.progress, "round %d of %d, %s\n", round+1, d.rounds, p.name)
			for i, works := range stagesOf(d.worksOf(p)) {
				own := filepath.Join(d.dir, fmt.Sprintf("%s-%d-%d", p.name, round+1, i+1))
				if err := os.Mkdir(own, 0o755); err != nil {
					return fmt.Errorf("make a directory: %w", err)
				}
				if err := d.stage(ctx, p, works, own); err != nil {
					return fmt.Errorf("round %d, %s: %w", round+1, p.name, err)
				}
				if err := os.RemoveAll(own); err != nil {
					return fmt.Errorf("remove the files of %s: %w", p.name, err)
				}
			}
		}
	}
	return nil
}

// prepare finds out what can be measured here.
func (d *driver) prepare(ctx context.Context) (err error) {
	if runtime.NumCPU() <= loadCore {
		return errors.New("the proxy and its load need a core each\nnext: measure on a machine with two")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of descriptors: %w", err)
	}
	d.descriptors = int(min(limit.Cur, 100_000))
	if d.users() < d.connections+firstSockets {
		return fmt.Errorf("%d descriptors a process are too few for %d connections\nnext: raise the limit with ulimit -n", d.descriptors, d.connections)
	}
	if d.identity, err = makeIdentity(d.dir); err != nil {
		return err
	}
	if err := d.findPeers(ctx); err != nil {
		return err
	}
	if d.tls, err = d.knowsTLS(ctx); err != nil {
		return err
	}
	for _, w := range d.works {
		if w.stage.TLS && !d.tls {
			d.skip("%s: this usher knows no --door-cert", w.name)
		}
	}
	d.results.works = d.works
	for _, p := range d.peers {
		d.results.proxies = append(d.results.proxies, p.name)
	}
	return nil
}

func (d *driver) skip(format string, args ...any) {
	line := "SKIPPED: " + fmt.Sprintf(format, args...)
	d.skipped = append(d.skipped, line)
	fmt.Fprintln(d.progress, line)
}

// users is how many connections a proxy can serve: each takes another one to the engine.
func (d *driver) users() int { return (d.descriptors - 800) / 2 }

// worksOf are those that a proxy can do.
func (d *driver) worksOf(p peer) []work {
	return slices.DeleteFunc(slices.Clone(d.works), func(w work) bool {
		if p.program == usherName {
			return w.stage.TLS && !d.tls
		}
		return w.usher
	})
}

// task says how a work loads a proxy.
func (d *driver) task(w work, p peer, t target) task {
	out := task{
		Kind: w.kind, Path: w.path, Body: w.body, Size: w.size, TLS: w.stage.TLS, Roots: d.identity.cert,
		Address: t.address, PIDs: t.pids, Cookie: p.cookie, Connections: d.connections, WarmUp: d.warmUp, Time: d.time,
	}
	if w.many > 0 {
		out.Connections = min(w.many, d.users())
	}
	out.Flying = out.Connections
	if w.few {
		out.Flying = min(d.connections, out.Connections)
	}
	switch {
	case w.kind == messages:
		out.Sockets = min(d.sockets, d.users())
	case w.kind == idle && !w.stage.TLS:
		out.Sockets = min(4*d.sockets, d.users()-firstSockets)
	case w.kind == idle: // each is so large that fewer do
		out.Sockets = min(d.sockets, d.users()-firstSockets)
	}
	return out
}

// stage measures works on a proxy that lives for them alone.
func (d *driver) stage(ctx context.Context, p peer, works []work, dir string) (err error) {
	t, err := d.open(ctx, p, works[0].stage, dir)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	defer func() { err = errors.Join(err, t.close()) }()
	for _, w := range works {
		s, err := d.load(ctx, d.task(w, p, t))
		if err != nil {
			return fmt.Errorf("%s: %w; the proxy's last words:\n%s", w.name, err, t.words())
		}
		fmt.Fprintf(d.progress, "  %s\n", w.line(p.name, s))
		d.results.add(p.name, w.name, s)
	}
	return nil
}

// load runs the load's process.
func (d *driver) load(ctx context.Context, t task) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*(t.WarmUp+t.Time)+2*time.Minute)
	defer cancel()
	text, err := json.Marshal(t)
	if err != nil {
		return s, fmt.Errorf("write the task: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	var out, words bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "load", string(text))
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "GOMAXPROCS=1"), &out, &words
	if err := pinned(loadCore, cmd.Run); err != nil {
		return s, fmt.Errorf("the load: %w: %s", errors.Join(err, ctx.Err()), strings.TrimPrefix(strings.TrimSpace(words.String()), "door: "))
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("read what the load found: %w", err)
	}
	return s, nil
}

func (d *driver) startBackend(ctx context.Context) (*bench.Process, error) {
	ports, err := bench.FreePorts(ctx, 1)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	p := bench.NewProcess("backend", []string{self, "backend", ports[0]}, []string{"GOMAXPROCS=1"}, filepath.Join(d.dir, "backend.log"))
	if err := pinned(loadCore, p.Start); err != nil {
		return nil, err
	}
	d.engine = ports[0]
	if err := answers(ctx, "http://"+d.engine+"/", nil); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; the backend's last words:\n%s", err, p.Words()), p.Stop())
	}
	return p, nil
}

// facts stand above the figures.
func (d *driver) facts() []string {
	out := []string{
		strings.Join(d.versions, ", "),
		fmt.Sprintf("%d rounds of %s a measurement after %s of warm-up; %d connections, as many messages on their way", d.rounds, d.time, d.warmUp, d.connections),
		fmt.Sprintf("at most %d descriptors a process: %d users of a proxy", d.descriptors, d.users()),
		fmt.Sprintf("the most that others took of the proxy's core in a window: %.0f %%", 100*d.results.disturbed()),
	}
	for _, w := range d.works {
		if t := d.task(w, peer{}, target{}); w.many > t.Connections {
			out = append(out, fmt.Sprintf("%s has %d connections: descriptors allow no more", w.name, t.Connections))
		}
	}
	return append(out, d.skipped...)
}

// pinned calls f so that the processes it starts stay on one core.
func pinned(core int, f func() error) (err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, own unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read the cores of this thread: %w", err)
	}
	own.Set(core)
	if err := unix.SchedSetaffinity(0, &own); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	defer func() { err = errors.Join(err, unix.SchedSetaffinity(0, &before)) }()
	return f()
}
