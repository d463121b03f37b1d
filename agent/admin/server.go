package admin

import (
	"crypto/rand"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/logs"
)

// Server answers the admin API on any number of listeners: see ServeLocal, ServeTCP
// and ServePeers. It is safe for concurrent use.
type Server struct {
	cfg     Config
	log     zerolog.Logger
	stats   *stats
	hosts   map[string]bool
	origins *http.CrossOriginProtection
	guesses *limiter
	proven  proven
	streams chan struct{} // one for each stream that is open

	socket, tcp, peers http.Handler
}

// Bounds of a server.
const (
	maxBody    = 1 << 20
	maxStreams = 10_240

	callTimeout   = 15 * time.Second       // of a request, beside what it asked to wait
	fallbackAfter = 700 * time.Millisecond // of one that can be answered stale
	catchUp       = 5 * time.Second        // until a write that was done is seen here
)

// New makes a server; it serves nothing yet. cfg.Backend, ValidateTask and NextDue
// must be set.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.SocketUser == nil {
		cfg.SocketUser = SystemUser
	}
	if cfg.ValidateSetting == nil {
		cfg.ValidateSetting = func(string, string) error { return nil }
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, stats: newStats(cfg.Registerer), hosts: hostSet(cfg.Hosts),
		origins: http.NewCrossOriginProtection(), guesses: newLimiter(cfg.Now), streams: make(chan struct{}, maxStreams),
	}
	table := routes()
	s.socket = s.mux(originSocket, table)
	s.tcp = s.guard(s.mux(originTCP, table))
	s.peers = s.mux(originPeer, internalRoutes())
	return s
}

// origin is how a request arrived.
type origin string

const (
	originSocket origin = "socket"
	originTCP    origin = "tcp"
	originPeer   origin = "peer"
)

// mux serves the table, and nothing else.
func (s *Server) mux(from origin, table []route) http.Handler {
	mux := http.NewServeMux()
	for _, rt := range table {
		if rt.role == "" && !rt.open && from != originPeer {
			panic("admin: route " + rt.pattern + " has no role") // a defect of the table
		}
		mux.HandleFunc(rt.method+" "+rt.pattern, func(w http.ResponseWriter, r *http.Request) { s.run(from, &rt, w, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if allowed := allowedMethods(mux, r); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			s.refuse(from, w, r, problem(http.StatusMethodNotAllowed, CodeMethod, "this path takes "+strings.Join(allowed, ", "), ""))
			return
		}
		s.refuse(from, w, r, problem(http.StatusNotFound, CodeNotFound, "there is nothing at "+clip(r.URL.Path, 128), "see /v1/openapi.json for what there is"))
	})
	return mux
}

// allowedMethods are those with which the path of r leads to a route.
func allowedMethods(mux *http.ServeMux, r *http.Request) []string {
	var out []string
	for _, m := range []string{http.MethodDelete, http.MethodGet, http.MethodPatch, http.MethodPost, http.MethodPut} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := mux.Handler(probe); pattern != "" && pattern != "/" {
			out = append(out, m)
		}
	}
	return out
}

// guard keeps web pages of others away from a TCP listener.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hosts[hostOf(r.Host)] {
			s.refuse(originTCP, w, r, problem(http.StatusMisdirectedRequest, CodeWrongHost,
				"this admin API is not called "+clip(r.Host, 128), "use its address, or configure the name with --api-name"))
			return
		}
		if err := s.origins.Check(r); err != nil {
			s.refuse(originTCP, w, r, problem(http.StatusForbidden, CodeCrossOrigin, "a page of another site may not do this", ""))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// run takes a request through its route.
func (s *Server) run(from origin, rt *route, w http.ResponseWriter, r *http.Request) {
	c := s.newCall(from, rt, w, r)
	defer c.end()
	defer c.recover()
	if err := c.admit(); err != nil {
		c.fail(err)
		return
	}
	c.admitted()
	if !c.detach() {
		rt.handle(c)
	}
}

// recover keeps a defect in one request from being a silent one: net/http would
// log it where nobody looks. The connection ends.
func (c *call) recover() {
	p := recover()
	if p == nil || p == http.ErrAbortHandler { //nolint:errorlint // a panic's value, never wrapped
		return
	}
	c.s.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Str(logs.Path, c.route.pattern).Msg("admin request panicked")
	c.w.status = http.StatusInternalServerError
	panic(http.ErrAbortHandler)
}

// refuse answers a request that has no route.
func (s *Server) refuse(from origin, w http.ResponseWriter, r *http.Request, p *Problem) {
	c := s.newCall(from, &route{pattern: "none"}, w, r)
	defer c.end()
	c.fail(p)
}

// admit decides whether the caller may use the route at all.
func (c *call) admit() error {
	switch {
	case c.from == originPeer:
		return c.admitPeer()
	case c.route.open || c.openMetrics():
		return c.checkQuery()
	}
	who, err := c.authenticate()
	if err != nil {
		return err
	}
	c.who = who
	if !who.role.Includes(c.route.role) {
		return problem(http.StatusForbidden, CodeDenied,
			"this needs the role "+string(c.route.role)+", and the token has the role "+string(who.role),
			"use a token with that role: usher token create --role "+string(c.route.role))
	}
	if c.route.local && c.from == originTCP && !isLoopback(c.r.RemoteAddr) {
		return problem(http.StatusForbidden, CodeDenied, "this is answered on the agent's own machine alone", "run the command there")
	}
	if err := c.checkQuery(); err != nil {
		return err
	}
	return c.checkCondition()
}

// openMetrics reports whether metrics may be read without a token.
func (c *call) openMetrics() bool {
	return c.route.pattern == "/metrics" && c.s.cfg.OpenMetrics && c.from == originTCP && isLoopback(c.r.RemoteAddr)
}

// stopKey finds the channel that is closed when the listener begins to stop.
type stopKey struct{}

func (c *call) stopping() <-chan struct{} {
	stop, _ := c.r.Context().Value(stopKey{}).(<-chan struct{})
	return stop // nil waits for ever, as it should without a listener
}
