package door

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/door/serve"
	"github.com/ushercluster/usher/agent/http1"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/agent/placement"
	"github.com/ushercluster/usher/transport/memnet"
)

// site is a cluster of doors in memory, each with an engine beside it. Time is
// fake: everything runs in one bubble.
type site struct {
	t     *testing.T
	net   *memnet.Net
	users *memnet.Host
	nodes []*node
	keys  []Key

	mu       sync.Mutex
	settings *Settings
	filter   Filter
	admit    Admit
	status   map[peer.ID]peer.Status // what gossip says; alive by default
	state    map[peer.ID]peer.State
	reports  map[peer.EngineID]peer.EngineLoad
	reported map[peer.ID]time.Time
	noView   bool                 // doors know no cluster yet
	access   bytes.Buffer         // the access log of the first node
	whole    atomic.Bool          // nothing goes the short way
	registry *prometheus.Registry // of the first node
	tick     chan struct{}
	wait     sync.WaitGroup

	configure func(*node, *Config)
}

type node struct {
	id     peer.ID
	name   string
	ip     string
	host   *memnet.Host
	door   *Door
	engine *fakeEngine
	cancel context.CancelFunc
	done   chan error
	// agents is called instead of the door's own handler of other agents, inner; nil
	// is that one.
	agents atomic.Pointer[http.HandlerFunc]
	ahead  atomic.Int64 // its wall clock, nanoseconds
	inner  http.Handler
}

// bubble runs f with a site of n nodes in fake time and takes it down again.
func bubble(t *testing.T, n int, f func(s *site)) {
	t.Helper()
	bubbleWith(t, n, func(*node, *Config) {}, f)
}

// bubbleWith lets configure see the configuration of each door.
func bubbleWith(t *testing.T, n int, configure func(*node, *Config), f func(s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, n, configure)
		f(s)
		s.close()
		if left := s.net.Conns(); left > 0 {
			t.Errorf("%d connections are left", left)
		}
	})
}

func newSite(t *testing.T, n int, configure func(*node, *Config)) *site {
	s := &site{
		t: t, net: memnet.New(), settings: DefaultSettings(), keys: []Key{{ID: 7, Key: [32]byte{1, 2, 3}}},
		status: map[peer.ID]peer.Status{}, state: map[peer.ID]peer.State{},
		reports: map[peer.EngineID]peer.EngineLoad{}, reported: map[peer.ID]time.Time{}, tick: make(chan struct{}),
		registry: prometheus.NewRegistry(), configure: configure,
	}
	s.users = s.net.Host("users", "10.9.0.1")
	for i := range n {
		s.add(i)
	}
	s.report()
	s.wait.Go(func() {
		for {
			select {
			case <-s.tick:
				return
			case <-time.After(time.Second):
				s.report()
			}
		}
	})
	return s
}

func (s *site) add(i int) {
	nd := &node{
		id: peer.ID(strings.Repeat(string(rune('a'+i)), 16)), name: fmt.Sprintf("n%d", i), ip: fmt.Sprintf("10.0.0.%d", i+1),
	}
	nd.host = s.net.Host(nd.name, nd.ip)
	nd.engine = newFakeEngine(s, nd)
	s.nodes = append(s.nodes, nd)
	s.start(nd)
}

// start opens the node's door and serves.
func (s *site) start(nd *node) {
	listen := func(addr string) net.Listener {
		l, err := nd.host.Listen(context.Background(), "tcp", addr)
		if err != nil {
			s.t.Fatal(err)
		}
		return l
	}
	cfg := Config{
		Self: nd.id, Users: listen(":80"),
		Peers: Peers{
			Listener: listen(":14747"),
			Remote: func(c net.Conn) peer.ID {
				from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String()
				for _, o := range s.nodes {
					if o.ip == from {
						return o.id
					}
				}
				return ""
			},
			Dial: func(ctx context.Context, to peer.ID) (net.Conn, error) {
				for _, o := range s.nodes {
					if o.id == to {
						return nd.host.DialContext(ctx, "tcp", o.ip+":14747")
					}
				}
				return nil, fmt.Errorf("no node %s", to)
			},
		},
		Local:     []Engine{nd.engine},
		Directory: func() *Directory { return s.directory(nd) },
		Settings:  s.current,
		Keys:      func() []Key { s.mu.Lock(); defer s.mu.Unlock(); return s.keys },
		Admit: func(ctx context.Context, o Opening) error {
			s.mu.Lock()
			admit := s.admit
			s.mu.Unlock()
			if admit == nil {
				return nil
			}
			return admit(ctx, o)
		},
		Filter: func(r FilterRequest, cs []placement.Candidate) []placement.Candidate {
			s.mu.Lock()
			filter := s.filter
			s.mu.Unlock()
			if filter == nil {
				return cs
			}
			return filter(r, cs)
		},
		Private: []string{"/engine-api/"},
		Now:     func() time.Time { return time.Now().Add(time.Duration(nd.ahead.Load())) },
		Rand:    &seqReader{n: 2*nd.ip[len(nd.ip)-1] + 1},
		Log:     zerolog.Nop(), AccessLog: zerolog.Nop(),
	}
	if nd == s.nodes[0] {
		cfg.AccessLog = zerolog.New(&s.access)
		if nd.door == nil { // a second door cannot register the same metrics
			cfg.Registerer = s.registry
		}
	}
	s.configure(nd, &cfg)
	d, err := Open(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	nd.inner = d.servers.agents.Handler
	d.servers.agents.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := nd.agents.Load(); h != nil {
			(*h)(w, r)
			return
		}
		nd.inner.ServeHTTP(w, r)
	})
	d.servers.agents.Express = func(c *serve.Conn, q *http1.Request) bool {
		return nd.agents.Load() == nil && !s.whole.Load() && d.expressAgent(c, q)
	}
	d.servers.users.Express = func(c *serve.Conn, q *http1.Request) bool {
		return !s.whole.Load() && d.expressUser(c, q)
	}
	s.mu.Lock()
	nd.door, nd.done = d, make(chan error, 1)
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	nd.cancel = cancel
	go func() { nd.done <- d.Run(ctx) }()
	synctest.Wait()
}

// seqReader is a source of bytes that never repeat within a test.
type seqReader struct {
	mu sync.Mutex
	n  byte
	c  uint64
}

func (r *seqReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range p {
		r.c = r.c*6364136223846793005 + 1442695040888963407 + uint64(r.n)
		p[i] = byte(r.c >> 56)
	}
	return len(p), nil
}

func (s *site) current() *Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// change changes a copy of the settings.
func (s *site) change(f func(*Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := *s.settings
	f(&c)
	s.settings = &c
}

func (s *site) gossip(nd *node, st peer.Status) {
	s.mu.Lock()
	s.status[nd.id] = st
	s.mu.Unlock()
}

func (s *site) operator(nd *node, st peer.State) {
	s.mu.Lock()
	s.state[nd.id] = st
	s.mu.Unlock()
}

// report lets the load reports of all nodes arrive.
func (s *site) report() {
	s.mu.Lock()
	nodes := slices.Clone(s.nodes)
	s.mu.Unlock()
	for _, nd := range nodes {
		s.reportOne(nd)
	}
}

// reportOne lets the load report of one node arrive.
func (s *site) reportOne(nd *node) {
	s.mu.Lock()
	d := nd.door
	s.mu.Unlock()
	l := d.Loads()[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[nd.engine.id], s.reported[nd.id] = l, time.Now()
}

func (s *site) directory(self *node) *Directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noView {
		return nil
	}
	dir := &Directory{Nodes: map[peer.ID]NodeInfo{}, Documents: map[peer.EngineID][]string{}}
	for _, nd := range s.nodes {
		status, state := s.status[nd.id], s.state[nd.id]
		if status == "" || nd == self {
			status = peer.StatusAlive
		}
		if state == "" {
			state = peer.StateActive
		}
		dir.Nodes[nd.id] = NodeInfo{Name: nd.name, Status: status, State: state, Addr: nd.ip, Reported: s.reported[nd.id]}
		l := s.reports[nd.engine.id]
		if l.Health == "" {
			l.Health = peer.Healthy
		}
		dir.Documents[nd.engine.id] = l.Documents
		dir.Engines = append(dir.Engines, placement.Candidate{
			Engine: nd.engine.id, NodeName: nd.name, Weight: 100, State: state, Status: status, Health: l.Health,
			Load: placement.Load{Sessions: l.Sessions, InFlight: l.InFlight, Permille: -1}, MaxSessions: nd.engine.MaxSessions(),
		})
	}
	return dir
}

// kill ends a node as a power cut does: agent and engine. What Run says of a
// listener that is gone is of no interest.
func (s *site) kill(nd *node) {
	s.net.Reset(nd.host)
	nd.cancel()
	<-nd.done
	nd.cancel = nil
	nd.engine.stop()
}

func (nd *node) stop(t *testing.T) {
	if nd.cancel == nil {
		return
	}
	nd.cancel()
	if err := <-nd.done; err != nil {
		t.Errorf("run of %s: %v", nd.name, err)
	}
	nd.cancel = nil
}

// freezeReports lets load reports arrive when the test says so only.
func (s *site) freezeReports() {
	if s.tick != nil {
		close(s.tick)
		s.wait.Wait()
		s.tick = nil
	}
}

func (s *site) close() {
	s.freezeReports()
	for _, nd := range s.nodes {
		nd.stop(s.t)
		nd.engine.stop()
	}
	time.Sleep(time.Second) // net/http lingers half of it after it has refused a request
}

// sessions counts the sessions of all owners.
func (s *site) sessions() int {
	n := 0
	for _, nd := range s.nodes {
		n += len(nd.door.Sessions(nil))
	}
	return n
}

// browser is a user with cookies.
type browser struct {
	s       *site
	cookies map[string]string
	client  *http.Client
}

func (s *site) browser() *browser {
	tr := &http.Transport{DialContext: s.users.DialContext, DisableCompression: true}
	return &browser{s: s, cookies: map[string]string{}, client: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (b *browser) leaveConnections() { b.client.CloseIdleConnections() }

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	seen   seen // when it is the engine's usual one
	code   string
	last   bool // of its connection
}

// do sends a request to a node's door and keeps the cookies that come back.
func (b *browser) do(nd *node, method, path, body string, fields ...string) (answer, error) {
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
	}
	r, err := http.NewRequest(method, "http://"+nd.ip+path, src)
	if err != nil {
		return answer{}, err
	}
	r.Host = "app.example.test"
	for i := 0; i+1 < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	for _, c := range resp.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	raw, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(raw), code: resp.Header.Get(fieldError), last: resp.Close}
	_ = json.Unmarshal(raw, &a.seen)
	return a, err
}

// request is a GET with the browser's cookies, to be sent by hand.
func (b *browser) request(nd *node, path string) *http.Request {
	r, err := http.NewRequest(http.MethodGet, "http://"+nd.ip+path, nil)
	if err != nil {
		b.s.t.Fatal(err)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	return r
}

// get is do for what must be answered.
func (b *browser) get(nd *node, path string, fields ...string) answer {
	b.s.t.Helper()
	a, err := b.do(nd, http.MethodGet, path, "", fields...)
	if err != nil {
		b.s.t.Fatalf("GET %s at %s: %v", path, nd.name, err)
	}
	return a
}

// ok is get for what must be answered with 200 by an engine.
func (b *browser) ok(nd *node, path string, fields ...string) answer {
	b.s.t.Helper()
	a := b.get(nd, path, fields...)
	if a.status != http.StatusOK {
		b.s.t.Fatalf("GET %s at %s: %d %s %s", path, nd.name, a.status, a.code, a.body)
	}
	return a
}

// raw writes bytes to a door and reads one answer.
func (s *site) raw(nd *node, request string) (answer, error) {
	c, err := s.users.DialContext(context.Background(), "tcp", nd.ip+":80")
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, request); err != nil {
		return answer{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(b), code: resp.Header.Get(fieldError)}
	_ = json.Unmarshal(b, &a.seen)
	return a, err
}

// node by engine name.
func (s *site) named(name string) *node {
	for _, nd := range s.nodes {
		if nd.name == name {
			return nd
		}
	}
	s.t.Fatalf("no node %q", name)
	return nil
}

// others are the nodes but nd.
func (s *site) others(nd *node) []*node {
	var out []*node
	for _, o := range s.nodes {
		if o != nd {
			out = append(out, o)
		}
	}
	return out
}

func retryAfter(a answer) int {
	n, _ := strconv.Atoi(a.header.Get("Retry-After"))
	return n
}

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
