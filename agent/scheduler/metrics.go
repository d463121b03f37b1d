package scheduler

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	ended    *prometheus.CounterVec   // result
	lateness *prometheus.HistogramVec // step
	running  prometheus.Gauge
	renewals *prometheus.CounterVec // result
	refused  prometheus.Counter
	plan     prometheus.Histogram
	broken   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_scheduler_occurrences_total",
			Help: "Ends that this node recorded: succeeded and failed by the worker, lost, missed and skipped by the leader. A failed or lost attempt counts although another may follow.",
		}, []string{"result"}),
		lateness: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "usher_scheduler_lateness_seconds",
			Help:    "Time from an occurrence's due time to its first claim and to its first start.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15, 60, 300, 1800},
		}, []string{"step"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_scheduler_running",
			Help: "Attempts that run on this node now.",
		}),
		renewals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_scheduler_lease_renewals_total",
			Help: "Renewals of attempts' leases by this node: ok, refused (the lease was lost), or failed (outcome unknown).",
		}, []string{"result"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "usher_scheduler_refusals_total",
			Help: "The leader's commands that the state refused because it had changed meanwhile.",
		}),
		plan: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "usher_scheduler_plan_duration_seconds",
			Help:    "Time that the leader needed for deciding one round.",
			Buckets: prometheus.ExponentialBuckets(.0001, 4, 8),
		}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_scheduler_broken_tasks",
			Help: "Tasks whose schedule the leader cannot read.",
		}),
	}
	for _, r := range []string{"succeeded", "failed", "lost", "missed", "skipped"} {
		m.ended.WithLabelValues(r)
	}
	for _, r := range []string{"ok", "refused", "failed"} {
		m.renewals.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.ended, m.lateness, m.running, m.renewals, m.refused, m.plan, m.broken} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register scheduler metrics: %w", err)
		}
	}
	return m, nil
}
