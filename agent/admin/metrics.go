package admin

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type stats struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	refused  *prometheus.CounterVec
	streams  prometheus.Gauge
	parked   prometheus.Gauge
	counters sync.Map // of requests: requestLabels to prometheus.Counter
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

// requestLabels are those of a request's counter.
type requestLabels struct {
	from            origin
	method, pattern string
	status          int
}

// counter keeps the counters that were used: to look one up by its texts costs as much as
// to route the request.
func (s *stats) counter(l requestLabels) prometheus.Counter {
	if c, ok := s.counters.Load(l); ok {
		return c.(prometheus.Counter)
	}
	name := l.pattern
	if l.method != "" {
		name = l.method + " " + name
	}
	c := s.requests.WithLabelValues(string(l.from), name, strconv.Itoa(l.status))
	s.counters.Store(l, c)
	return c
}

// observe counts an answer. Routes are patterns, so the labels are bounded.
func (s *stats) observe(c *call, took time.Duration) {
	status := c.w.status
	if status == 0 {
		status = http.StatusOK
	}
	s.counter(requestLabels{c.from, c.route.method, c.route.pattern, status}).Inc()
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
