package membership

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ushercluster/usher/agent/peer"
)

// metrics are the package's figures. Labels are from closed sets.
type metrics struct {
	registerer prometheus.Registerer

	members         *prometheus.GaugeVec
	packets         *prometheus.CounterVec
	packetBytes     *prometheus.CounterVec
	dropped         *prometheus.CounterVec
	dialsFailed     *prometheus.CounterVec
	reportsSent     prometheus.Counter
	reportsReceived prometheus.Counter
	reportsRejected prometheus.Counter
}

// Values of the labels.
const (
	directionIn, directionOut = "in", "out"

	droppedAddress = "address"    // nowhere to send it
	droppedQueue   = "queue_full" // more than the peer's queue holds
	droppedBackoff = "backoff"    // the peer could not be dialled a moment ago
	droppedDial    = "dial"       // waited for a dial that failed
	droppedWrite   = "write"      // the connection broke

	dialPackets, dialStream, dialJoin = "packets", "stream", "join"
)

var statuses = []peer.Status{peer.StatusAlive, peer.StatusSuspect, peer.StatusFailed, peer.StatusLeft}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "usher", Subsystem: "membership", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "usher", Subsystem: "membership", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		registerer: r,
		members: prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "usher", Subsystem: "membership", Name: "members",
			Help: "Nodes that gossip knows, this one included, by what it says of them."}, []string{"status"}),
		packets:         vec("packets_total", "Gossip packets received from and written to connections.", "direction"),
		packetBytes:     vec("packet_bytes_total", "Bytes of gossip packets, without framing and TLS.", "direction"),
		dropped:         vec("packets_dropped_total", "Gossip packets that were not sent.", "reason"),
		dialsFailed:     vec("dials_failed_total", "Connections to other nodes that could not be made.", "kind"),
		reportsSent:     counter("reports_sent_total", "Load reports of this node that were handed to gossip."),
		reportsReceived: counter("reports_received_total", "Load reports of other nodes that brought news."),
		reportsRejected: counter("reports_rejected_total", "Load reports of other nodes that could not be read."),
	}
	if r == nil {
		return m, nil
	}
	for i, c := range m.all() {
		if err := r.Register(c); err != nil {
			for _, done := range m.all()[:i] {
				r.Unregister(done)
			}
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.members, m.packets, m.packetBytes, m.dropped, m.dialsFailed,
		m.reportsSent, m.reportsReceived, m.reportsRejected}
}

// Close takes the metrics out of their registry.
func (m *metrics) Close() error {
	if m.registerer == nil {
		return nil
	}
	ok := true
	for _, c := range m.all() {
		ok = m.registerer.Unregister(c) && ok
	}
	if !ok {
		return errors.New("metrics were not registered")
	}
	return nil
}

func (m *metrics) packet(direction string, size int) {
	m.packets.WithLabelValues(direction).Inc()
	m.packetBytes.WithLabelValues(direction).Add(float64(size))
}

func (m *metrics) drop(reason string, n int) { m.dropped.WithLabelValues(reason).Add(float64(n)) }

// count shows how many peers are in which status.
func (m *metrics) count(peers []peer.Peer) {
	n := make(map[peer.Status]int, len(statuses))
	for _, p := range peers {
		n[p.Status]++
	}
	for _, s := range statuses {
		m.members.WithLabelValues(string(s)).Set(float64(n[s]))
	}
}
