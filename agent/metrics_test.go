package agent

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/config"
	"github.com/ushercluster/usher/agent/engine/builtin"
	"github.com/ushercluster/usher/transport/memnet"
)

var updateMetrics = flag.Bool("update", false, "rewrite docs/metrics.md")

const metricsFile = "../docs/metrics.md"

// family is one metric as the page shows it.
type family struct {
	name, kind, help string
	labels           []string
}

// TestMetricsPage compares docs/metrics.md with what an agent registers while it
// runs as the leader of a cluster of its own.
func TestMetricsPage(t *testing.T) {
	var all []family
	synctest.Test(t, func(t *testing.T) {
		withAgent(t, func(a *Agent) { all = families(t, a.registry) })
	})
	for _, f := range all {
		if counts := strings.HasSuffix(f.name, "_total"); counts != (f.kind == "counter") {
			t.Errorf("%s is a %s: the names of counters, and of nothing else, end in _total", f.name, f.kind)
		}
		if f.help == "" {
			t.Errorf("%s has no help", f.name)
		}
	}
	got := metricsPage(t, all)
	if *updateMetrics {
		if err := os.WriteFile(metricsFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/metrics.md is out of date: run go test ./agent -run TestMetricsPage -update (-want +got):\n%s", diff)
	}
}

// withAgent calls f with an agent that runs, leads and has the built-in engine.
func withAgent(t *testing.T, f func(*Agent)) {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Config{
		DataDir: filepath.Join(dir, "data"),
		Node:    config.Node{Name: "n1"},
		Cluster: config.Cluster{Bind: "10.0.0.1:14747", ElectionTimeout: 500 * time.Millisecond},
		Door:    config.Door{Listen: "10.0.0.1:8080"},
		API:     config.API{Socket: "/run/usher/usher.sock"},
		Engines: []string{"builtin"},
		Engine:  config.Engine{Documents: filepath.Join(dir, "documents")},
		Stop:    config.Stop{Timeout: time.Second},
	}
	if err := builtin.WriteDemoDocuments(cfg.Engine.Documents, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), cfg, "test", time.Now); err != nil {
		t.Fatal(err)
	}
	a, err := New(cfg, Options{
		Network: memnet.New().Host("n1", "10.0.0.1"), Log: zerolog.Nop(), Version: "test",
		Machine:    func() Machine { return Machine{} },
		SocketUser: func(net.Conn) (string, error) { return "root", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	select {
	case <-a.Ready():
		f(a)
	case err := <-ended:
		t.Fatal("the agent ended:", err)
	case <-time.After(time.Minute):
		t.Error("the agent is not ready after a minute")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// families lists what is registered in live, sorted by name.
//
// A vector shows itself in Gather only once it has a child, and most failures
// have not happened here. So the collectors themselves are asked for: to register
// a descriptor again is refused by naming the collector that holds it, and that
// one can be given a child. Collectors of several descriptors cannot be had in
// this way and must show all of them by themselves.
func families(t *testing.T, live *prometheus.Registry) []family {
	t.Helper()
	live.Unregister(collectors.NewGoCollector())
	live.Unregister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	descs := make(chan *prometheus.Desc, 1000)
	live.Describe(descs)
	close(descs)
	copied := prometheus.NewRegistry()
	singles, joint := 0, 0
	for d := range descs {
		var there prometheus.AlreadyRegisteredError
		if !errors.As(live.Register(described{d}), &there) {
			joint++
			continue
		}
		singles++
		addChild(t, there.ExistingCollector)
		if err := copied.Register(there.ExistingCollector); err != nil {
			t.Fatal(err)
		}
	}
	alone := gather(t, copied)
	both := gather(t, live)
	if len(alone) != singles || len(both) != singles+joint {
		t.Fatalf("%d descriptors made %d families, and together with %d joint ones %d", singles, len(alone), joint, len(both))
	}
	return both
}

// described is a collector that only says what it would collect.
type described struct{ desc *prometheus.Desc }

func (d described) Describe(ch chan<- *prometheus.Desc) { ch <- d.desc }
func (described) Collect(chan<- prometheus.Metric)      {}

// addChild gives a vector a child, whatever its labels are.
func addChild(t *testing.T, c prometheus.Collector) {
	t.Helper()
	var try func(values ...string) error
	switch v := c.(type) {
	case *prometheus.CounterVec:
		try = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	case *prometheus.GaugeVec:
		try = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	case *prometheus.HistogramVec:
		try = func(values ...string) error { _, err := v.GetMetricWithLabelValues(values...); return err }
	default:
		return
	}
	for n := range 10 {
		if try(make([]string, n)...) == nil {
			return
		}
	}
	t.Fatalf("a vector takes none of 0 to 9 labels: %v", c)
}

func gather(t *testing.T, reg *prometheus.Registry) []family {
	t.Helper()
	got, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out []family
	for _, mf := range got {
		f := family{name: mf.GetName(), kind: strings.ToLower(mf.GetType().String()), help: mf.GetHelp()}
		for _, l := range mf.GetMetric()[0].GetLabel() {
			f.labels = append(f.labels, l.GetName())
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b family) int { return cmp.Compare(a.name, b.name) })
	return out
}

// parts are the sections of the page: the word after "usher_" in a metric's name.
func parts() map[string]string {
	return map[string]string{
		"agent":      "The agent itself: the snapshots that it saves.",
		"admin":      "The admin API, with the calls of other agents.",
		"builtin":    "The built-in engine, where the node runs it.",
		"door":       "The front door.",
		"engine":     "The engines beside this node, as the agent sees them.",
		"membership": "Gossip.",
		"port":       "The cluster port.",
		"raft":       "Consensus.",
		"pulse":      "The connections between servers that say how far each of them is.",
		"scheduler":  "Tasks: what the central node decides, and what this node runs.",
		"state":      "The replicated state.",
		"upstream":   "The door's connections to engines and to other agents.",
	}
}

const metricsIntro = `# Metrics

<!-- Generated by go test ./agent -run TestMetricsPage -update; do not edit. -->

` + "`GET /metrics`" + ` of the admin API shows them in Prometheus' text form, for each node by
itself. On the socket it needs no token, over TCP it needs one of the role viewer:

` + "```" + `
curl --unix-socket /run/usher/usher.sock http://localhost/metrics
curl -H "Authorization: Bearer $USHER_TOKEN" http://127.0.0.1:14748/metrics
` + "```" + `

Labels take their values from closed lists or from names in the configuration, so
the number of series is bounded. A series of a labelled metric appears with its
first event. Beside these there are the ` + "`go_*` and `process_*`" + ` metrics of the Go client
library.
`

func metricsPage(t *testing.T, all []family) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(metricsIntro)
	texts, current := parts(), ""
	for _, f := range all {
		words := strings.SplitN(f.name, "_", 3)
		if len(words) != 3 || words[0] != "usher" || texts[words[1]] == "" {
			t.Errorf("%s belongs to no part of the page: name it usher_PACKAGE_..., and add the package to parts", f.name)
			continue
		}
		if words[1] != current {
			current = words[1]
			fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", current, texts[current])
		}
		labels := ""
		if len(f.labels) > 0 {
			labels = "`" + strings.Join(f.labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind, labels, strings.ReplaceAll(f.help, "|", `\|`))
	}
	return b.String()
}
