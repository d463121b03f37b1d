package engine

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
)

// metrics are one engine's collectors; its name is a constant label.
type metrics struct {
	probes  *prometheus.CounterVec
	seconds prometheus.Histogram
	dials   *prometheus.CounterVec
	reloads *prometheus.CounterVec
	state   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, engine string) (*metrics, error) {
	labels := prometheus.Labels{"engine": engine}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, []string{"result"})
	}
	m := &metrics{
		probes: counter("usher_engine_probes_total", "Health probes of an engine, by result (good, bad)."),
		dials:  counter("usher_engine_dials_total", "Connections opened to an engine, by result (ok, refused, error)."),
		reloads: counter("usher_engine_reloads_total",
			"Reload calls to an engine, by result (ok, or the code of the error)."),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "usher_engine_probe_seconds", Help: "How long health probes of an engine took.", ConstLabels: labels,
			Buckets: []float64{.001, .005, .02, .1, .5, 1, 2, 5},
		}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "usher_engine_health", Help: "1 for the health that an engine is in, 0 for the others.", ConstLabels: labels,
		}, []string{"health"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.probes, m.dials, m.reloads, m.seconds, m.state} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of engine %s: %w", engine, err)
		}
	}
	return m, nil
}

func (m *metrics) probe(took time.Duration, good bool) {
	result := "bad"
	if good {
		result = "good"
	}
	m.probes.WithLabelValues(result).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) dial(result string) { m.dials.WithLabelValues(result).Inc() }

func (m *metrics) reload(result string) { m.reloads.WithLabelValues(result).Inc() }

func (m *metrics) health(now peer.Health) {
	for _, h := range []peer.Health{peer.Healthy, peer.Unhealthy, peer.Dead} {
		v := 0.0
		if h == now {
			v = 1
		}
		m.state.WithLabelValues(string(h)).Set(v)
	}
}
