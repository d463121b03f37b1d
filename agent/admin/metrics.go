package admin

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type stats struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	streams  prometheus.Gauge
	parked   prometheus.Gauge
}

func newStats(reg prometheus.Registerer) *stats {
	s := &stats{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_admin_requests_total", Help: "Requests of the admin API, by origin, route and status.",
		}, []string{"origin", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "usher_admin_request_seconds", Help: "Time to answer requests that did not wait for news, by origin.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"origin"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "usher_admin_unauthenticated_total", Help: "Requests without a token or with one that is not valid.",
		}, []string{"reason"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_admin_event_streams", Help: "Streams of events that are open.",
		}),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "usher_admin_parked_connections", Help: "Connections on which a request waits for news, or that have not asked again since.",
		}),
	}
	if reg != nil {
		reg.MustRegister(s.requests, s.seconds, s.refused, s.streams, s.parked)
	}
	return s
}

// observe counts an answer. Routes are patterns, so the labels are bounded.
func (s *stats) observe(c *call, took time.Duration) {
	status := c.w.status
	if status == 0 {
		status = http.StatusOK
	}
	name := c.route.pattern
	if c.route.method != "" {
		name = c.route.method + " " + name
	}
	s.requests.WithLabelValues(string(c.from), name, strconv.Itoa(status)).Inc()
	if !c.route.streams && !c.query().Has("index") {
		s.seconds.WithLabelValues(string(c.from)).Observe(took.Seconds())
	}
}

func serveMetrics(c *call) {
	if c.s.cfg.Metrics == nil {
		c.fail(notFound("this agent shows no metrics"))
		return
	}
	c.s.cfg.Metrics.ServeHTTP(c.w, c.r)
}
