package transport

import "github.com/prometheus/client_golang/prometheus"

type stats struct {
	handshakes *prometheus.CounterVec
	dials      *prometheus.CounterVec
	conns      *prometheus.GaugeVec
}

func newStats(reg prometheus.Registerer) *stats {
	s := &stats{
		handshakes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_port_handshakes_total", Help: "Handshakes on the cluster port, by result.",
		}, []string{"result"}),
		dials: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_port_dials_total", Help: "Connections dialled to other nodes, by protocol and result.",
		}, []string{"proto", "result"}),
		conns: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "usher_port_connections", Help: "Live connections of the cluster port, by protocol.",
		}, []string{"proto"}),
	}
	if reg != nil {
		reg.MustRegister(s.handshakes, s.dials, s.conns)
	}
	return s
}
