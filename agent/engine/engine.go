package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
	"github.com/ushercluster/usher/agent/peer"
)

// DialFunc is net.Dialer.DialContext.
type DialFunc func(ctx context.Context, network, addr string) (net.Conn, error)

// Log fields that only this package uses.
const (
	fieldHealth = "health"
	fieldWas    = "was"
	fieldError  = "error"
)

// Options are the things around an Engine.
type Options struct {
	Dial       DialFunc         // required; where every connection comes from
	Roots      *x509.CertPool   // who may sign the certificate of an https engine; nil is the system's
	Now        func() time.Time // nil is time.Now
	Log        zerolog.Logger
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
	Timing     Timing                // zero is DefaultTiming
}

// Engine is one application server that the agent fronts. It is safe for
// concurrent use.
type Engine struct {
	cfg     Config
	dial    DialFunc
	tls     *tls.Config // nil for http
	now     func() time.Time
	log     zerolog.Logger
	metrics *metrics

	changed chan struct{} // to the one who watches; holds at most one
	kick    chan struct{} // to Run: probe now

	mu        sync.Mutex
	timing    Timing
	machine   machine
	took      time.Duration // by the last probe
	report    *Report
	reportErr string
	askAfter  time.Time // when the load report is asked for again
}

// Status is what is known of an engine now. Report is shared: treat it as
// read-only.
type Status struct {
	Health peer.Health
	Since  time.Time // when Health last changed
	LostAt time.Time // when sessions bound to it should move; zero unless it is dead
	Err    string    // why it is not healthy, or the last failure that did not count yet

	Report    *Report // the engine's word about itself; nil when it offers none
	ReportErr string  // why there is no report although the engine seems to offer one

	ProbeDuration time.Duration // of the last probe
}

// New returns an engine that has not been probed: it is Unhealthy until the
// first good answer. Nothing is started. It registers collectors that carry the
// engine's name as a constant label, so that several engines share a registerer.
func New(cfg Config, o Options) (*Engine, error) {
	cfg, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	if o.Dial == nil {
		return nil, errors.New("engine options: Dial is missing")
	}
	if o.Timing == (Timing{}) {
		o.Timing = DefaultTiming()
	}
	if err := o.Timing.Validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m, err := newMetrics(o.Registerer, cfg.Name)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		cfg: cfg, dial: o.Dial, now: o.Now, metrics: m, timing: o.Timing,
		log:     o.Log.With().Str(logs.Engine, cfg.Name).Logger(),
		changed: make(chan struct{}, 1),
		kick:    make(chan struct{}, 1),
		machine: newMachine(o.Now()),
	}
	if cfg.URL.Scheme == "https" {
		e.tls = &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: cfg.URL.Hostname(),
			NextProtos: []string{"http/1.1"}, Time: o.Now,
		}
	}
	m.health(e.machine.health)
	return e, nil
}

// Name is the engine's name on its node.
func (e *Engine) Name() string { return e.cfg.Name }

// Host is the engine's host:port.
func (e *Engine) Host() string { return e.cfg.URL.Host }

// HostHeader is what the engine wants as Host; empty preserves the user's.
func (e *Engine) HostHeader() string { return e.cfg.HostHeader }

// MaxSessions is how many sessions the engine may hold; 0 is no limit.
func (e *Engine) MaxSessions() int { return e.cfg.MaxSessions }

// Config is the engine's configuration with the defaults filled in.
func (e *Engine) Config() Config { return e.cfg }

// Health is Status's first two fields, cheap enough to ask per request.
func (e *Engine) Health() (peer.Health, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.machine.health, e.machine.since
}

// Status is what is known now.
func (e *Engine) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.status()
}

func (e *Engine) status() Status {
	s := Status{
		Health: e.machine.health, Since: e.machine.since, Err: e.machine.err,
		Report: e.report, ReportErr: e.reportErr, ProbeDuration: e.took,
	}
	if s.Health == peer.Dead {
		s.LostAt = s.Since.Add(e.timing.FailAfter)
	}
	return s
}

// Changed yields a value after the status changed in anything but
// ProbeDuration; several changes may be one value. It has one reader.
func (e *Engine) Changed() <-chan struct{} { return e.changed }

// SetTiming changes the timing from the next probe on, which starts at once. It
// refuses what Timing.Validate refuses.
func (e *Engine) SetTiming(t Timing) error {
	if err := t.Validate(); err != nil {
		return err
	}
	e.mu.Lock()
	same := e.timing == t
	e.timing = t
	e.mu.Unlock()
	if !same {
		poke(e.kick)
	}
	return nil
}

// Run probes the engine, at once and then every Interval, until ctx ends; then
// it returns nil. It is run once.
func (e *Engine) Run(ctx context.Context) error {
	for {
		e.probe(ctx)
		e.mu.Lock()
		wait := jitter(e.timing.Interval, rand.Float64())
		e.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		case <-e.kick:
			timer.Stop()
		}
	}
}

// observe feeds the state machine and tells what changed. The evidence of a
// caller that gave up says nothing about the engine and must not come here.
func (e *Engine) observe(saw evidence, why string) {
	e.mu.Lock()
	before := e.machine
	e.machine = before.next(saw, why, e.now(), e.timing)
	after := e.machine
	e.mu.Unlock()

	if after.health == before.health && after.err == before.err {
		return
	}
	poke(e.changed)
	if after.health == before.health {
		return
	}
	e.metrics.health(after.health)
	ev := e.log.Info()
	if after.health != peer.Healthy {
		ev = e.log.Warn()
	}
	ev.Str(fieldHealth, string(after.health)).Str(fieldWas, string(before.health)).
		Str(logs.Addr, e.Host()).Str(fieldError, after.err).Msg("engine health changed")
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
