package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"github.com/ushercluster/usher/scripts/bench"
)

// driver goes through the kinds of abuse.
type driver struct {
	options
	dir      string
	progress io.Writer
}

// all measures each kind on an agent of its own.
func (d *driver) all(ctx context.Context) ([]result, error) {
	if err := makeIdentity(d.cert(), d.key()); err != nil {
		return nil, err
	}
	if err := makeDocument(filepath.Join(d.dir, "documents")); err != nil {
		return nil, err
	}
	var out []result
	for i, k := range d.kinds {
		fmt.Fprintf(d.progress, "%d of %d: %s, %s\n", i+1, len(d.kinds), k.Name, k.What)
		r, err := d.one(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.Name, err)
		}
		fmt.Fprintf(d.progress, "  %s\n", r.line())
		out = append(out, r)
	}
	return out, nil
}

func (d *driver) cert() string { return filepath.Join(d.dir, "cert.pem") }
func (d *driver) key() string  { return filepath.Join(d.dir, "key.pem") }

// makeDocument writes a document of which 400 rows are some 100 KiB.
func makeDocument(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	var b strings.Builder
	b.WriteString("region,amount,note\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "region %d,%d,%s\n", i%7, i, strings.Repeat("note ", 50))
	}
	if err := os.WriteFile(filepath.Join(dir, "sales.csv"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write the document: %w", err)
	}
	return nil
}

// one measures one kind.
func (d *driver) one(ctx context.Context, k kind) (r result, err error) {
	dir, err := os.MkdirTemp(d.dir, k.Name+"-")
	if err != nil {
		return r, fmt.Errorf("make a directory: %w", err)
	}
	cfg := bench.UsherConfig{Binary: d.usher, Dir: dir, Nodes: 1, Engines: []string{"builtin"}, Flags: []string{"--documents", filepath.Join(d.dir, "documents")}}
	cert := ""
	if k.TLS {
		cert = d.cert()
		cfg.Flags = append(cfg.Flags, "--door-cert", cert, "--door-key", d.key())
	}
	u, err := bench.OpenUsher(ctx, cfg)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, u.Close()) }()
	door := u.Agents[0].Door
	honest, err := start(ctx, "honest", honestTask{Address: door, Cert: cert, Users: d.users, Rate: d.rate})
	if err != nil {
		return r, err
	}
	x := &experiment{
		options: d.options, kind: k, agent: u.Agents[0], honest: honest,
		abuse: abuseTask{Kind: k, Address: door, Cert: cert, Count: d.count, CPU: d.cpu, Strength: d.strength},
	}
	r, err = x.run(ctx)
	if err = errors.Join(err, honest.end(nil)); err != nil {
		return r, fmt.Errorf("%w; the agent's last words:\n%s", err, u.Agents[0].Words())
	}
	return r, nil
}

// experiment is one kind of abuse of one agent.
type experiment struct {
	options
	kind   kind
	agent  *bench.Agent
	honest *child
	abuse  abuseTask
}

func (x *experiment) run(ctx context.Context) (result, error) {
	r := result{Kind: x.kind, Needed: x.kind.needed(x.count)}
	if err := x.honest.ask(&latencies{}); err != nil { // sessions are open
		return r, err
	}
	rest := func() error { return bench.Sleep(ctx, x.time) }
	steps := []struct {
		into *phase
		do   func() error
	}{
		{new(phase), func() error { return bench.Sleep(ctx, x.warmUp) }},
		{&r.Alone, rest},
		{&r.During, func() error { return x.abused(ctx, &r) }},
		{&r.After, rest},
		{&r.Control, func() error { return x.burnt(ctx, r.AbuserCPU) }},
	}
	for _, s := range steps {
		if err := x.phase(ctx, s.into, s.do); err != nil {
			return r, err
		}
	}
	return r, nil
}

// phase does something while honest users go on, and tells how they fared.
func (x *experiment) phase(ctx context.Context, p *phase, do func() error) error {
	watched, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { p.RSS = x.watch(watched) })
	began := time.Now()
	agent, err := bench.Processor(ctx, x.agent.PID())
	users, err2 := bench.Processor(ctx, x.honest.pid())
	if err = errors.Join(err, err2); err == nil {
		err = do()
	}
	elapsed := time.Since(began)
	agentAfter, err2 := bench.Processor(ctx, x.agent.PID())
	usersAfter, err3 := bench.Processor(ctx, x.honest.pid())
	p.AgentCPU, p.HonestCPU = (agentAfter-agent).Seconds()/elapsed.Seconds(), (usersAfter-users).Seconds()/elapsed.Seconds()
	stop()
	watching.Wait()
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	return x.honest.ask(&p.Latencies)
}

// watch is the most resident memory of the agent until ctx ends.
func (x *experiment) watch(ctx context.Context) (most uint64) {
	for {
		if p, err := process.NewProcess(int32(x.agent.PID())); err == nil {
			if m, err := p.MemoryInfo(); err == nil {
				most = max(most, m.RSS)
			}
		}
		if bench.Sleep(ctx, 100*time.Millisecond) != nil {
			return most
		}
	}
}

// abused is the time of the abuse: until all abusers have begun, and then a phase.
func (x *experiment) abused(ctx context.Context, r *result) error {
	abusers, err := start(ctx, "abusers", x.abuse)
	if err != nil {
		return err
	}
	began := time.Now()
	_, err = abusers.line()
	r.Begun = time.Since(began)
	if err == nil {
		err = bench.Sleep(ctx, x.time)
	}
	took, err2 := bench.Processor(ctx, abusers.pid())
	r.Lasted = time.Since(began)
	r.AbuserCPU = took.Seconds() / r.Lasted.Seconds()
	return errors.Join(err, err2, abusers.end(&r.Outcome))
}

// burnt has a process take what the abusers took.
func (x *experiment) burnt(ctx context.Context, share float64) error {
	burner, err := start(ctx, "burner", max(share, 0.001))
	if err != nil {
		return err
	}
	return errors.Join(bench.Sleep(ctx, x.time), burner.end(nil))
}
