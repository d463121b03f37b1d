package pulse

import "github.com/prometheus/client_golang/prometheus"

type stats struct {
	links          prometheus.Gauge
	sent, received prometheus.Counter
}

func newStats(r prometheus.Registerer) *stats {
	s := &stats{
		links:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "usher_pulse_connections", Help: "Open pulse connections to other servers."}),
		sent:     prometheus.NewCounter(prometheus.CounterOpts{Name: "usher_pulse_frames_sent_total", Help: "Pulse frames sent."}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "usher_pulse_frames_received_total", Help: "Pulse frames received."}),
	}
	if r != nil {
		r.MustRegister(s.links, s.sent, s.received)
	}
	return s
}
