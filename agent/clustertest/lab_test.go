package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/agent/peer"
)

// lab is the engine of one node: a server that misbehaves on demand and tells what
// it saw.
//
//	/            what it was asked, as JSON (see echo); so does every other path
//	/slow?ms=N   the same after N ms
//	/stall?ms=N  half an answer, a pause of N ms, the rest
//	/cut         half an answer, then the end of the connection
//	/ws          a WebSocket that echoes
//	/health      for probes
type lab struct {
	t    *testing.T
	node *Node

	server *http.Server // nil while it is down
	served chan error

	probes    atomic.Int64
	probeTime atomic.Int64 // how long a probe takes, nanoseconds
	bad       atomic.Int64 // probes still to be answered with 500
	badAt     atomic.Int64 // when the last one was, Unix nanoseconds

	reloads    atomic.Int64 // done
	reloadTime atomic.Int64 // how long one takes, nanoseconds
	mu         sync.Mutex
	running    int // reloads
	most       int // of running at once
}

// echo is what an engine answers.
type echo struct {
	Node   string      `json:"node"`
	Header http.Header `json:"header"` // of the request
}

// newLab puts an engine beside a node that has not been started.
func newLab(t *testing.T, n *Node) *lab {
	t.Helper()
	e := &lab{t: t, node: n}
	n.Config.Engines = []string{"lab=http://" + e.addr()}
	n.Config.Engine.Health = "/health"
	e.up()
	t.Cleanup(e.down)
	return e
}

func (e *lab) addr() string { return e.node.Host.IP() + ":9000" }

// up opens the engine's port.
func (e *lab) up() {
	ln, err := e.node.Host.Listen(e.t.Context(), "tcp", e.addr())
	if err != nil {
		e.t.Errorf("open the engine of %s: %v", e.node.Name, err)
		return
	}
	server, served := &http.Server{Handler: e.handler()}, make(chan error, 1)
	e.server, e.served = server, served
	go func() { served <- server.Serve(ln) }()
}

// down closes the port and cuts every connection: dials are refused.
func (e *lab) down() {
	if e.server == nil {
		return
	}
	if err := errors.Join(e.server.Close(), <-e.served); !errors.Is(err, http.ErrServerClosed) {
		e.t.Errorf("close the engine of %s: %v", e.node.Name, err)
	}
	e.server = nil
}

func (e *lab) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", e.echo)
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), askedPause(r))
		e.echo(w, r)
	})
	mux.HandleFunc("/stall", func(w http.ResponseWriter, r *http.Request) {
		half(w)
		pause(r.Context(), askedPause(r))
		_, _ = io.WriteString(w, "second") // the door may have left
	})
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		half(w)
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/ws", e.websocket)
	mux.HandleFunc("/health", e.health)
	mux.HandleFunc("/.well-known/", http.NotFound)
	mux.HandleFunc("POST /.well-known/usher/reload", e.reload)
	return mux
}

func (e *lab) echo(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // the door gave the request up
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(echo{e.node.Name, r.Header}) // the door may have left
}

// half sends the head of an answer of twelve bytes and six of them.
func half(w http.ResponseWriter) {
	w.Header().Set("Content-Length", "12")
	_, _ = io.WriteString(w, "first ") // buffered
	_ = http.NewResponseController(w).Flush()
}

func askedPause(r *http.Request) time.Duration {
	ms, _ := strconv.Atoi(r.URL.Query().Get("ms")) // 0 is a fine pause
	return time.Duration(ms) * time.Millisecond
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (e *lab) websocket(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = ws.CloseNow() }()
	for {
		kind, b, err := ws.Read(r.Context())
		if err != nil || ws.Write(r.Context(), kind, b) != nil {
			return
		}
	}
}

func (e *lab) health(w http.ResponseWriter, r *http.Request) {
	e.probes.Add(1)
	pause(r.Context(), time.Duration(e.probeTime.Load()))
	if e.bad.Load() > 0 {
		e.bad.Add(-1) // probes come one after another
		e.badAt.Store(time.Now().UnixNano())
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (e *lab) reload(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.running++
	e.most = max(e.most, e.running)
	e.mu.Unlock()
	pause(r.Context(), time.Duration(e.reloadTime.Load()))
	e.mu.Lock()
	e.running--
	e.mu.Unlock()
	e.reloads.Add(1)
	w.WriteHeader(http.StatusNoContent)
}

// mostReloads is the greatest number of reloads at once since it was asked last.
func (e *lab) mostReloads() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	most := e.most
	e.most = e.running
	return most
}

// lines keeps what an agent logs.
type lines struct {
	mu  sync.Mutex
	all []string
}

// Write implements io.Writer; zerolog writes a line at a time.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(bytes.TrimSpace(p)))
	return len(p), nil
}

func (l *lines) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// has reports whether a line after the first n holds all the parts.
func (l *lines) has(n int, parts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for _, line := range l.all[n:] {
		for _, p := range parts {
			if !strings.Contains(line, p) {
				continue next
			}
		}
		return true
	}
	return false
}

// user is a browser with a jar at one door.
type user struct {
	t       *testing.T
	door    *Node
	client  *http.Client
	session string // short ID; set by bench.openOwn
}

// seen is an answer as a user gets it, with what the engine tells of the request.
type seen struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	err     error // the answer was not whole
	echo
}

// session is the short ID of the session that the engine was told.
func (s seen) session() string { return s.echo.Header.Get("X-Usher-Session") }

// ask makes one request with pairs of header fields.
func (u user) ask(method, path, body string, fields ...string) seen {
	req, err := http.NewRequestWithContext(u.t.Context(), method, u.door.Door()+path, strings.NewReader(body))
	if err != nil {
		u.t.Error(err)
		return seen{err: err}
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := u.client.Do(req)
	if err != nil {
		return seen{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	s := seen{status: resp.StatusCode, header: resp.Header, cookies: resp.Cookies()}
	b, err := io.ReadAll(resp.Body)
	s.err = err
	_ = json.Unmarshal(b, &s.echo) // pages of the door are no echoes
	return s
}

func (u user) get(path string, fields ...string) seen {
	return u.ask(http.MethodGet, path, "", fields...)
}

// dial opens a WebSocket and counts the pings on it.
func (u user) dial() (*websocket.Conn, *atomic.Int64) {
	pings := new(atomic.Int64)
	ws, _, err := websocket.Dial(u.t.Context(), u.door.Door()+"/ws", &websocket.DialOptions{
		HTTPClient:     u.client,
		OnPingReceived: func(context.Context, []byte) bool { pings.Add(1); return true },
	})
	if err != nil {
		u.t.Errorf("open a WebSocket at %s: %v", u.door.Name, err)
		return nil, pings
	}
	return ws, pings
}

// bench is a cluster whose engines are labs.
type bench struct {
	*Cluster

	// By node name.
	labs map[string]*lab
	logs map[string]*lines
	apis map[string]*admin.Client
	ids  map[string]peer.EngineID
	own  map[string]user // with sessions on their door's engine

	keep   map[string]bool // IDs of sessions that outlive a look
	serial atomic.Int64    // makes names
	doing  string          // for errors; set between looks
}

func newBench(t *testing.T, n int) *bench {
	b := &bench{labs: map[string]*lab{}, logs: map[string]*lines{}, apis: map[string]*admin.Client{}, ids: map[string]peer.EngineID{}}
	b.Cluster = New(t, n, func(n *Node) {
		b.labs[n.Name], b.logs[n.Name] = newLab(t, n), &lines{}
		n.Log = b.logs[n.Name]
	})
	for _, n := range b.Up() {
		b.apis[n.Name] = n.API()
		b.ids[n.Name] = peer.MakeEngineID(n.ID(), "lab")
	}
	b.settle()
	return b
}

// settle waits until every node sees every engine healthy.
func (b *bench) settle() {
	b.T.Helper()
	b.Eventually(30*time.Second, "healthy engines", func() bool {
		for _, n := range b.nodes {
			st, err := b.apis[n.Name].Status(b.T.Context())
			if err != nil || st.Counts.EnginesHealthy != len(b.nodes) {
				return false
			}
		}
		return true
	})
}

// random is the name of any node, and a client of its API.
func (b *bench) random() (string, *admin.Client) {
	n := b.nodes[rand.IntN(len(b.nodes))]
	return n.Name, b.apis[n.Name]
}

func (b *bench) set(key, value string) (at string) {
	b.T.Helper()
	at, api := b.random()
	if _, err := api.SetSetting(b.T.Context(), key, value); err != nil {
		b.T.Fatalf("set %s = %s on %s: %v", key, value, at, err)
	}
	return at
}

func (b *bench) unset(key string) (at string) {
	b.T.Helper()
	at, api := b.random()
	if _, err := api.UnsetSetting(b.T.Context(), key); err != nil {
		b.T.Fatalf("unset %s on %s: %v", key, at, err)
	}
	return at
}

// sessions lists those that the node's API knows in the whole cluster.
func (b *bench) sessions(n *Node, f admin.SessionFilter) []admin.Session {
	out, err := b.apis[n.Name].Sessions(b.T.Context(), f)
	if err != nil || len(out.Missing) > 0 {
		b.T.Errorf("list sessions on %s: %v, missing %v", n.Name, err, out.Missing)
	}
	return out.Items
}

func (b *bench) keepSessions() {
	b.keep = map[string]bool{}
	for _, s := range b.sessions(b.nodes[0], admin.SessionFilter{}) {
		b.keep[s.ID] = true
	}
}

// closeSessions ends what a look has opened.
func (b *bench) closeSessions() {
	at, api := b.random()
	for _, s := range b.sessions(b.nodes[0], admin.SessionFilter{}) {
		if b.keep[s.ID] {
			continue
		}
		if err := api.CloseSession(b.T.Context(), s.ID); err != nil && problemCode(err) != string(admin.CodeNotFound) {
			b.T.Errorf("close session on %s: %v", at, err)
		}
	}
}

// engine is what the node itself says of its engine.
func (b *bench) engine(n *Node) admin.Engine {
	e, err := b.apis[n.Name].Engine(b.T.Context(), b.ids[n.Name])
	if err != nil {
		b.T.Errorf("engine of %s: %v", n.Name, err)
	}
	return e
}

func (b *bench) user(at *Node) user {
	client := b.Browser()
	client.Jar, _ = cookiejar.New(nil) // fails never
	return user{t: b.T, door: at, client: client}
}

// through is the user at another door, with the same cookies: here doors have hosts of
// their own, where users know them under one name.
func (u user) through(n *Node) user {
	from, _ := url.Parse(u.door.Door()) // fail never
	to, _ := url.Parse(n.Door())
	u.client.Jar.SetCookies(to, u.client.Jar.Cookies(from))
	u.door = n
	return u
}

// openOwn gives each node a user at its door whose session is on its own engine:
// while it is opened, the other nodes drain.
func (b *bench) openOwn() {
	b.own = map[string]user{}
	for i, n := range b.nodes {
		b.drain(n, false)
		for j, other := range b.nodes {
			if j == i-1 || i == 0 && j > 0 {
				b.drain(other, true) // the rest drains already
			}
		}
		time.Sleep(200 * time.Millisecond)
		u := b.user(n)
		s := u.get("/")
		if s.Node != n.Name {
			b.T.Fatalf("%s: while the others drain, a session of %s opens on %q, status %d", b.doing, n.Name, s.Node, s.status)
		}
		u.session = s.session()
		b.own[n.Name] = u
	}
	for _, n := range b.nodes {
		b.drain(n, false)
	}
	time.Sleep(200 * time.Millisecond)
}

// drain makes a node drain, or active again.
func (b *bench) drain(n *Node, on bool) {
	b.T.Helper()
	at, api := b.random()
	change := api.Activate
	if on {
		change = api.Drain
	}
	if _, err := change(b.T.Context(), n.Name, admin.StateChange{}); err != nil {
		b.T.Fatalf("drain %s: %t, on %s: %v", n.Name, on, at, err)
	}
}

// next is the node after n.
func (b *bench) next(n *Node) *Node {
	for i, m := range b.nodes {
		if m == n {
			return b.nodes[(i+1)%len(b.nodes)]
		}
	}
	return n
}

// within waits, in any goroutine, until cond holds.
func (b *bench) within(limit time.Duration, what string, cond func() bool) {
	for end := time.Now().Add(limit); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.T.Errorf("no %s within %v", what, limit)
			return
		}
	}
}

// name is one that nobody has used.
func (b *bench) name(kind string) string { return fmt.Sprintf("%s-%d", kind, b.serial.Add(1)) }
