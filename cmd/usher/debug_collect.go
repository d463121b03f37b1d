package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/scrub"
)

// collector fills a bundle.
type collector struct {
	*program
	cli      *cli.Context
	ctx      context.Context // until an interrupt
	progress *progress
	exam     doctorAnswer
}

// newestRows is how much of the audit and of the occurrences a bundle holds.
const newestRows = 200

// begin makes the bundle with what the command itself knows.
func (s *collector) begin() *bundle {
	var secrets [][]byte
	if s.exam.config != nil {
		secrets = agent.SecretsOf(*s.exam.config)
	}
	if token, err := s.token(s.cli, true); err == nil {
		secrets = append(secrets, []byte(token))
	}
	b := &bundle{node: "unknown", scrub: scrub.New(secrets...), missing: []missingPart{}}
	switch {
	case s.exam.Node != nil && s.exam.Node.Name != "":
		b.node = s.exam.Node.Name
	case s.exam.config != nil && s.exam.config.Node.Name != "":
		b.node = s.exam.config.Node.Name
	}
	b.addJSON("version.json", "the command that gathered this", s.build)
	o := &printer{}
	o.doctor(s.exam)
	b.add("doctor.txt", "what usher doctor says", []byte(o.b.String()))
	b.addJSON("doctor.json", "the same for programs", s.exam)
	return b
}

// part asks for one part, within the time that one call of the API may take.
func (s *collector) part(b *bundle, name, what string, get func(context.Context) ([]byte, error)) {
	s.within(b, debugBound(s.cli), name, what, get)
}

func (s *collector) within(b *bundle, limit time.Duration, name, what string, get func(context.Context) ([]byte, error)) {
	if s.ctx.Err() != nil {
		return
	}
	s.progress.say("gathering %s", name)
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	defer cancel()
	text, err := get(ctx)
	if err != nil {
		b.miss(name, err)
		return
	}
	b.add(name, what, text)
}

// asJSON is an answer of the API as a part.
func asJSON[T any](get func(context.Context) (T, error)) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		v, err := get(ctx)
		if err != nil {
			return nil, err
		}
		return json.MarshalIndent(v, "", "  ")
	}
}

// every is a whole collection; some is the newest of it.
func every[T any](list lister[T]) func(context.Context) ([]byte, error) {
	return asJSON(func(ctx context.Context) (admin.List[T], error) { return admin.All(ctx, list) })
}

func some[T any](list lister[T]) func(context.Context) ([]byte, error) {
	return asJSON(func(ctx context.Context) (admin.List[T], error) { return list(ctx, admin.Page(newestRows, "")) })
}

// byAgent asks the agent. Its first page about itself decides whether it lets us in.
func (s *collector) byAgent(b *bundle) error {
	var fallback config.Config
	if s.exam.config != nil {
		fallback = *s.exam.config
	}
	api, err := s.connectTo(s.cli, fallback)
	if err != nil {
		return err
	}
	defer api.Close()
	page := func(name string) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) { return api.Debug(ctx, name) }
	}
	ctx, cancel := context.WithTimeout(s.ctx, debugBound(s.cli))
	defer cancel()
	text, err := api.Debug(ctx, admin.DebugConfig)
	if err != nil {
		return err
	}
	b.add("config.yaml", "the configuration in force", text)
	s.part(b, "machine.json", "process, machine and files in the data directory", page(admin.DebugMachine))
	s.state(b, api)
	s.part(b, "metrics.txt", "all metrics of this node", api.Metrics)
	s.part(b, "logs.jsonl", "the last lines of the agent's log", func(ctx context.Context) ([]byte, error) {
		text, err := api.Debug(ctx, admin.DebugLogs)
		return withoutAccess(text), err
	})
	s.journal(b)
	s.part(b, "goroutines.txt", "what every goroutine does", page(admin.DebugGoroutines))
	s.part(b, "heap.txt", "what holds memory", page(admin.DebugHeap))
	length := time.Duration(s.cli.Int("seconds")) * time.Second
	s.within(b, length+debugBound(s.cli), "cpu.pprof", fmt.Sprintf("CPU profile over %s: go tool pprof", length), func(ctx context.Context) ([]byte, error) {
		s.progress.say("measuring the CPU for %s", length)
		return api.CPUProfile(ctx, length)
	})
	return nil
}

// state is what the cluster has agreed on, as far as it helps.
func (s *collector) state(b *bundle, api *admin.Client) {
	s.part(b, "status.json", "the cluster and this node's part in Raft", asJSON(func(ctx context.Context) (admin.Status, error) { return api.Status(ctx) }))
	s.part(b, "cluster.json", "the cluster's own row", asJSON(func(ctx context.Context) (admin.Cluster, error) { return api.Cluster(ctx, admin.Stale()) }))
	s.part(b, "nodes.json", "the nodes with their engines", every(api.Nodes))
	s.part(b, "settings.json", "every setting in force", every(staleToo(api.Settings)))
	s.part(b, "tasks.json", "the tasks", every(staleToo(api.Tasks)))
	s.part(b, "occurrences.json", "the newest runs of tasks", some(staleToo(filtered(api.Occurrences, admin.OccurrenceFilter{}))))
	s.part(b, "audit.json", "the newest changes", some(staleToo(filtered(api.Audit, admin.AuditFilter{}))))
}

// staleToo lists what the node knows: a bundle is gathered on bad days.
func staleToo[T any](list lister[T]) lister[T] {
	return func(ctx context.Context, opts ...admin.Option) (admin.List[T], error) {
		return list(ctx, append(opts[:len(opts):len(opts)], admin.Stale())...)
	}
}

// alone gathers what can be found without an agent.
func (s *collector) alone(b *bundle) {
	if s.exam.config == nil {
		b.miss("config.yaml", errNoConfig)
		s.journal(b)
		return
	}
	cfg := *s.exam.config
	var text bytes.Buffer
	if err := cfg.Print(&text, nil); err != nil {
		b.miss("config.yaml", err)
	} else {
		b.add("config.yaml", "the configuration", text.Bytes())
	}
	s.part(b, "machine.json", "the machine and files in the data directory", func(ctx context.Context) ([]byte, error) {
		return s.examiner.Describe(ctx, cfg.DataDir)
	})
	s.part(b, "remembered.json", "what the node remembers of the cluster", asJSON(func(context.Context) (agent.CachedCluster, error) { return agent.Remembered(cfg) }))
	s.journal(b)
}

var errNoConfig = fmt.Errorf("the configuration is at fault: see doctor.txt")

// journal is the service's log beyond the agent's own memory, where systemd keeps it.
func (s *collector) journal(b *bundle) {
	if a := s.address(s.cli); a != "" && !isSocket(a) {
		return
	}
	ctx, cancel := context.WithTimeout(s.ctx, debugBound(s.cli))
	defer cancel()
	text, err := s.examiner.Journal(ctx)
	switch {
	case err != nil:
		b.miss("journal.txt", err)
	case len(bytes.TrimSpace(text)) > 0:
		b.add("journal.txt", "the last lines of the service's journal", withoutAccess(text))
	}
}

// withoutAccess leaves out lines that are about users' requests.
func withoutAccess(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(`"component":"access"`)) && !bytes.Contains(line, []byte("component=access")) {
			out = append(out, line...)
		}
	}
	return out
}
