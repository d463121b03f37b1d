package upstream

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what pools do. One serves all pools of an agent. A nil *Metrics
// counts nothing.
type Metrics struct {
	dials     *prometheus.CounterVec
	exchanges *prometheus.CounterVec
	answered  prometheus.Counter // of exchanges
	reused    prometheus.Counter
	stale     prometheus.Counter
	retries   prometheus.Counter
	idle      prometheus.Gauge
}

// NewMetrics registers the metrics with reg; a nil reg registers nothing.
func NewMetrics(reg prometheus.Registerer) (*Metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "usher_upstream_" + name, Help: help})
	}
	m := &Metrics{
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "usher_upstream_dials_total",
			Help: "Connections opened to engines and peers, by result (ok, refused, failed)."}, []string{"result"}),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "usher_upstream_exchanges_total",
			Help: "Requests, by how they came to an answer's head (answered, not_sent, timeout, bad_answer, cancelled, failed)."},
			[]string{"outcome"}),
		reused:  counter("connections_reused_total", "Exchanges that began on an idle connection."),
		stale:   counter("connections_stale_total", "Idle connections found closed or with unasked bytes."),
		retries: counter("retries_total", "Requests sent again because an idle connection had died under them."),
		idle: prometheus.NewGauge(prometheus.GaugeOpts{Name: "usher_upstream_idle_connections",
			Help: "Connections that wait for a request."}),
	}
	m.answered = m.exchanges.WithLabelValues("answered")
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.dials, m.exchanges, m.reused, m.stale, m.retries, m.idle} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of upstream: %w", err)
		}
	}
	return m, nil
}

func (m *Metrics) countDial(err error) {
	if m == nil {
		return
	}
	result := "ok"
	switch {
	case Refused(err):
		result = "refused"
	case err != nil:
		result = "failed"
	}
	m.dials.WithLabelValues(result).Inc()
}

func (m *Metrics) countExchange(ctx context.Context, err error) {
	if m != nil {
		m.exchanges.WithLabelValues(outcome(ctx, err)).Inc()
	}
}

func (m *Metrics) countAnswered() {
	if m != nil {
		m.answered.Inc()
	}
}

func outcome(ctx context.Context, err error) string {
	var notSent *NotSentError
	var answer *BadAnswerError
	var limit *TimeoutError
	switch {
	case err == nil:
		return "answered"
	case ctx.Err() != nil:
		return "cancelled"
	case errors.As(err, &notSent):
		return "not_sent"
	case errors.As(err, &limit):
		return "timeout"
	case errors.As(err, &answer):
		return "bad_answer"
	}
	return "failed"
}

func (m *Metrics) countReused() {
	if m != nil {
		m.reused.Inc()
	}
}

func (m *Metrics) countStale() {
	if m != nil {
		m.stale.Inc()
	}
}

func (m *Metrics) countRetry() {
	if m != nil {
		m.retries.Inc()
	}
}

func (m *Metrics) addIdle(n int) {
	if m != nil {
		m.idle.Add(float64(n))
	}
}
