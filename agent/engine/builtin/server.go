package builtin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/engine"
	"github.com/ushercluster/usher/agent/logs"
)

const (
	defaultDocumentBytes = 256 << 20
	defaultSessionIdle   = 30 * time.Minute
)

// Options configure a Server. Only Dir is required.
type Options struct {
	Dir  string        // holds the *.csv files
	Name string        // the engine's name, for the pages
	Node func() string // the node's name now, for the pages; nil shows none

	MaxDocumentBytes int64         // of one file; 0 is 256 MiB
	SessionIdle      time.Duration // until a session is forgotten; 0 is 30 minutes

	// SecretFile guards the engine API: see engine.ReadSecret. Empty leaves it
	// open to whoever reaches the engine.
	SecretFile string

	// ReloadDelay makes reloads of a document take at least as long as it says,
	// so that demonstrations and tests can watch them. Nil is no delay.
	ReloadDelay func(document string) time.Duration

	Now        func() time.Time // nil is time.Now
	Rand       io.Reader        // nil is crypto/rand; draws session IDs
	Log        zerolog.Logger
	Registerer prometheus.Registerer // nil leaves the metrics unregistered
}

// Server is the built-in engine: an http.Handler, safe for concurrent use.
//
// It can be served with read and write timeouts: reloads and WebSockets outlast
// them, and each has a limit of its own.
type Server struct {
	o        Options
	log      zerolog.Logger
	life     *lifetime
	library  *library
	sessions *sessions
	ledger   *ledger
	pages    *pages
	mux      *http.ServeMux

	requests         atomic.Int64
	webSockets       atomic.Int64
	webSocketsOpened atomic.Int64
}

// New opens the directory and returns a server that has loaded nothing yet.
func New(o Options) (*Server, error) {
	if o.MaxDocumentBytes < 0 || o.SessionIdle < 0 {
		return nil, errors.New("built-in engine: MaxDocumentBytes and SessionIdle cannot be negative")
	}
	if o.MaxDocumentBytes == 0 {
		o.MaxDocumentBytes = defaultDocumentBytes
	}
	if o.SessionIdle == 0 {
		o.SessionIdle = defaultSessionIdle
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Node == nil {
		o.Node = func() string { return "" }
	}
	if o.SecretFile != "" {
		if _, err := engine.ReadSecret(o.SecretFile); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open documents directory: %w", err)
	}
	s, err := assemble(o, root)
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return s, nil
}

func assemble(o Options, root *os.Root) (*Server, error) {
	p, err := newPages()
	if err != nil {
		return nil, err
	}
	life := newLifetime()
	s := &Server{
		o: o, log: o.Log.With().Str(logs.Engine, o.Name).Logger(), life: life, ledger: newLedger(), pages: p,
		library:  &library{root: root, limit: o.MaxDocumentBytes, now: o.Now, life: life, docs: map[string]*document{}},
		sessions: &sessions{idle: o.SessionIdle, now: o.Now, rand: o.Rand, byID: map[string]*session{}, swept: o.Now()},
	}
	s.mux = s.routes()
	if o.Registerer != nil {
		if err := s.register(o.Registerer); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Close ends WebSockets (1001, going away), loads and reloads, and waits for
// them. Requests that come later are answered 503.
func (s *Server) Close() error {
	s.life.close()
	if err := s.library.root.Close(); err != nil {
		return fmt.Errorf("close documents directory: %w", err)
	}
	return nil
}

// Counters is what the engine did since it started.
func (s *Server) Counters() Counters {
	c := Counters{
		Requests: s.requests.Load(), WebSockets: int(s.webSockets.Load()), WebSocketsOpened: s.webSocketsOpened.Load(),
		Loads: map[string]LoadInfo{},
	}
	c.Sessions, c.SessionsCreated = s.sessions.count()
	c.Documents, c.Attempts = s.ledger.snapshot()
	for _, d := range s.library.loaded() {
		t := d.current()
		c.Loads[d.key] = LoadInfo{Rows: t.Rows, Bytes: t.Bytes, Loaded: t.Loaded}
	}
	return c
}

// register exposes the counters that the server keeps anyway. The documents of a
// directory are many: there is no label.
func (s *Server) register(reg prometheus.Registerer) error {
	labels := prometheus.Labels{"engine": s.o.Name}
	counter := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, f)
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, f)
	}
	all := []prometheus.Collector{
		counter("usher_builtin_requests_total", "Requests by users to the built-in engine.",
			func() float64 { return float64(s.requests.Load()) }),
		gauge("usher_builtin_sessions", "Sessions in the built-in engine's memory.",
			func() float64 { n, _ := s.sessions.count(); return float64(n) }),
		gauge("usher_builtin_websockets", "Open WebSockets of the built-in engine.",
			func() float64 { return float64(s.webSockets.Load()) }),
		gauge("usher_builtin_documents_bytes", "Memory held by documents of the built-in engine, about.", s.documentBytes),
	}
	for i, c := range all {
		if err := reg.Register(c); err != nil {
			for _, done := range all[:i] {
				reg.Unregister(done)
			}
			return fmt.Errorf("register metrics of the built-in engine: %w", err)
		}
	}
	return nil
}

func (s *Server) documentBytes() float64 {
	n := int64(0)
	for _, d := range s.library.loaded() {
		n += d.current().Bytes
	}
	return float64(n)
}
