package door

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// Log fields that only the door has.
const (
	fieldLogClient  = "client"
	fieldLogCode    = "code"
	fieldLogRequest = "request"
	fieldLogBytes   = "bytes"
	fieldLogFrom    = "from"
	fieldStanding   = "standing"
)

// metrics are the door's counters. Labels are from closed lists, or names of the
// engines beside this agent.
type metrics struct {
	requests   *prometheus.CounterVec // class
	classes    [6]prometheus.Counter  // of requests, by the first digit; 0 for none
	refused    *prometheus.CounterVec // reason
	placements *prometheus.CounterVec // result
	failures   *prometheus.CounterVec // kind
	moves      prometheus.Counter
	relays     prometheus.Counter
	silent     *prometheus.CounterVec // standing
	express    prometheus.Counter
	inFlight   prometheus.Gauge
	websockets prometheus.Gauge
	asks       prometheus.Histogram
	seconds    prometheus.Histogram
	total      totals
}

// totals are the same for Counters.
type totals struct{ requests, moves, placements atomic.Uint64 }

func newMetrics(reg prometheus.Registerer, d *Door) (*metrics, error) {
	vec := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "usher_door_" + name, Help: help}, []string{label})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "usher_door_" + name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "usher_door_" + name, Help: help})
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: "usher_door_" + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		requests:   vec("requests_total", "Requests of users, by class of the answer (1xx to 5xx, none).", "class"),
		refused:    vec("refused_total", "Requests that the door answered itself, and cookies and connections that it did not take, by code.", "reason"),
		placements: vec("placements_total", "Searches for an engine, by result (asked, guessed, refused, none).", "result"),
		failures:   vec("upstream_errors_total", "Attempts to serve a request that failed, by kind.", "kind"),
		moves:      counter("moves_total", "Sessions that moved because their engine or node was lost."),
		silent:     vec("silent_agents_total", "Agents that did not answer for node.fail_after, by what another agent said (unheard: it reaches it, gone: neither does).", "standing"),
		relays:     counter("relays_total", "Requests sent to their owner through another agent."),
		express:    counter("express_total", "Requests of users that went the short way: passed on as they came."),
		inFlight:   gauge("in_flight", "Requests of users under way, WebSockets included."),
		websockets: gauge("websockets", "WebSockets open through this door, those of other doors' users included."),
		asks:       histogram("ask_seconds", "Time until the engines that were asked had answered, or it was too late.", .0005, .001, .002, .005, .01, .025, .05, .1, .25),
		seconds:    histogram("request_seconds", "Time from a request's head to the end of its answer.", .001, .005, .025, .1, .5, 1, 5, 30),
	}
	for i := range m.classes {
		m.classes[i] = m.requests.WithLabelValues(class(100 * i))
	}
	if reg == nil {
		return m, nil
	}
	connections := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "usher_door_connections", Help: "Connections of users, idle ones and WebSockets included.",
	}, func() float64 { return float64(d.census.count()) })
	all := []prometheus.Collector{m.requests, m.refused, m.placements, m.failures, m.moves, m.relays, m.silent, m.express, m.inFlight, m.websockets, m.asks, m.seconds, engineCounts{d}, connections}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the door: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) refuse(reason string) { m.refused.WithLabelValues(reason).Inc() }

func (m *metrics) place(result string) {
	m.placements.WithLabelValues(result).Inc()
	m.total.placements.Add(1)
}

// stood counts an agent that is not present any more.
func (m *metrics) stood(s standing) {
	if s != present {
		m.silent.WithLabelValues(s.String()).Inc()
	}
}

func (m *metrics) ask(took time.Duration) { m.asks.Observe(took.Seconds()) }

// engineCounts reads the owner's counts when they are scraped.
type engineCounts struct{ d *Door }

func (engineCounts) descs() (sessions, inFlight *prometheus.Desc) {
	return prometheus.NewDesc("usher_door_sessions", "Sessions bound to an engine beside this agent.", []string{"engine"}, nil),
		prometheus.NewDesc("usher_door_engine_in_flight", "Requests that an engine beside this agent is answering.", []string{"engine"}, nil)
}

// Describe implements prometheus.Collector.
func (c engineCounts) Describe(ch chan<- *prometheus.Desc) {
	sessions, inFlight := c.descs()
	ch <- sessions
	ch <- inFlight
}

// Collect implements prometheus.Collector.
func (c engineCounts) Collect(ch chan<- prometheus.Metric) {
	sessions, inFlight := c.descs()
	for _, l := range c.d.Loads() {
		ch <- prometheus.MustNewConstMetric(sessions, prometheus.GaugeValue, float64(l.Sessions), l.Name)
		ch <- prometheus.MustNewConstMetric(inFlight, prometheus.GaugeValue, float64(l.InFlight), l.Name)
	}
}

// answered counts a request of a user.
func (m *metrics) answered(status int, took time.Duration) {
	m.total.requests.Add(1)
	if i := status / 100; i >= 1 && i < len(m.classes) {
		m.classes[i].Inc()
	} else {
		m.classes[0].Inc()
	}
	m.seconds.Observe(took.Seconds())
}

// account counts a request of a user that is done, and logs it on demand.
func (d *Door) account(x *exchange, began time.Time) {
	p := x.reply
	took := d.cfg.Now().Sub(began)
	d.metrics.answered(p.status, took)
	if line := x.line(); line != nil {
		line.code = p.w.Header().Get(fieldError)
		line.write(&d.cfg.AccessLog, p.status, p.bytes, took)
	}
}

// accessLine is what the access log tells of a request, but for how it ended. Nothing in
// it belongs to the request.
type accessLine struct {
	method, path, request, document string
	client                          netip.Addr
	engine                          peer.EngineID
	session                         SessionID
	code                            string
}

// line is nil when the request has none.
func (x *exchange) line() *accessLine {
	if !x.logged() {
		return nil
	}
	return &accessLine{
		method: strings.Clone(x.r.Method), path: strings.Clone(x.r.URL.Path), request: strings.Clone(x.requestID()),
		document: strings.Clone(x.document), client: x.client.addr, engine: x.engine, session: x.session,
	}
}

func (a *accessLine) write(log *zerolog.Logger, status int, bytes int64, took time.Duration) {
	e := log.Info().Str(logs.Method, a.method).Str(logs.Path, a.path).
		Int(logs.Status, status).Int64(fieldLogBytes, bytes).Int64(logs.Duration, took.Milliseconds())
	e = e.Str(fieldLogRequest, a.request)
	if a.client.IsValid() {
		e = e.Str(fieldLogClient, a.client.String())
	}
	if a.engine != "" {
		e = e.Str(logs.Engine, string(a.engine)).Str(logs.Session, a.session.Short())
	}
	if a.document != "" {
		e = e.Str(logs.Document, a.document)
	}
	if a.code != "" {
		e = e.Str(fieldLogCode, a.code)
	}
	e.Msg("request")
}

// logged reports whether a request has a line in the access log.
func (x *exchange) logged() bool {
	status := x.reply.status
	return x.set.AccessLog == AccessAll || x.set.AccessLog != AccessOff && (status < 100 || status >= 400 || x.reply.broken) ||
		x.lot == marked
}

// lot says whether a request has a line in a sampled access log.
type lot uint8

const (
	notDrawn lot = iota
	blank
	marked
)

// draw marks one request in so many.
func (d *Door) draw(set *Settings) lot {
	if set.AccessLog == AccessSampled && d.draws.Add(1)%uint64(max(set.AccessSample, 1)) == 0 {
		return marked
	}
	return blank
}

func class(status int) string {
	switch {
	case status < 100 || status > 599:
		return "none"
	default:
		return string("012345"[status/100]) + "xx"
	}
}

// failed counts and logs an attempt that came to nothing.
func (d *Door) failed(x *exchange, f *failure) {
	kind := string(f.refused)
	switch {
	case f.gone:
		kind = "client_gone"
	case f.final != nil:
		kind = f.final.Code
	}
	d.metrics.failures.WithLabelValues(knownKind(kind)).Inc()
	d.log.Debug().Str(logs.Engine, string(x.engine)).Str(logs.Session, x.session.Short()).
		Str("kind", kind).Err(f.err).Msg("request not served")
}

// knownKind keeps what a peer of another version may say out of the labels.
func knownKind(kind string) string {
	switch refusal(kind) {
	case refusedNotHere, refusedDead, refusedLost, refusedBusy, refusedUnhealthy, refusedDraining, refusedFull,
		refusedEnded, refusedSeat, refusedGone, refusedCut, "client_gone":
		return kind
	}
	for _, p := range []*problem{problemTooLarge, problemSlow, problemTimeout, problemBadAnswer, problemHead, problemFields, problemNotFound} {
		if p.Code == kind {
			return kind
		}
	}
	return "other"
}

// broke notes that an answer or a tunnel did not come to its end; nil is a good end.
func (d *Door) broke(p *reply, engine peer.EngineID, err error) {
	if err == nil {
		return
	}
	kind := "answer_cut"
	var c *clientError
	if errors.As(err, &c) || p.r.Context().Err() != nil {
		kind = "client_gone"
	}
	d.cutShort(engine, kind, err)
}

// cutShort notes what broke, unless err is nil.
func (d *Door) cutShort(engine peer.EngineID, kind string, err error) {
	if err == nil {
		return
	}
	d.metrics.failures.WithLabelValues(kind).Inc()
	d.log.Debug().Str(logs.Engine, string(engine)).Str("kind", kind).Err(err).Msg("answer cut short")
}

// moved notes that a session has a new engine.
func (d *Door) moved(from, to binding) {
	d.metrics.moves.Inc()
	d.metrics.total.moves.Add(1)
	d.log.Info().Str(logs.Session, from.session.Short()).Str(fieldLogFrom, string(from.engine)).
		Str(logs.Engine, string(to.engine)).Msg("session moves")
}
