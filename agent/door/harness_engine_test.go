package door

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/door/upstream"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/transport/memnet"
)

// fakeEngine is an application server beside a node. It remembers requests by the
// session that the door names, as a real one would by its own cookie.
type fakeEngine struct {
	id   peer.EngineID
	name string
	host *memnet.Host

	mu     sync.Mutex
	server *http.Server
	listen net.Listener
	wait   sync.WaitGroup
	max    int
	inner  string // host header
	health peer.Health
	since  time.Time
	hits   map[string]int
	total  int
	last   *http.Request
	dials  int
	handle http.HandlerFunc // instead of the usual answer
	raw    func(net.Conn)   // instead of HTTP
}

func newFakeEngine(s *site, nd *node) *fakeEngine {
	e := &fakeEngine{
		id: peer.MakeEngineID(nd.id, "app"), name: nd.name, host: nd.host,
		health: peer.Healthy, since: time.Now(), hits: map[string]int{},
	}
	e.start(s.t)
	return e
}

func (e *fakeEngine) start(t *testing.T) {
	l, err := e.host.Listen(context.Background(), "tcp", "127.0.0.1:3838")
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.listen = &http.Server{Handler: e}, l
	e.hits = map[string]int{}
	server := e.server
	e.wait.Go(func() {
		if e.raw == nil {
			_ = server.Serve(l)
			return
		}
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.wait.Go(func() { e.raw(c); _ = c.Close() })
		}
	})
}

func (e *fakeEngine) stop() {
	e.mu.Lock()
	server, l := e.server, e.listen
	e.mu.Unlock()
	_ = server.Close()
	_ = l.Close() // a raw one's
	e.wait.Wait()
}

// die stops the engine so that it refuses connections.
func (e *fakeEngine) die() {
	e.stop()
	e.setHealth(peer.Dead)
}

func (e *fakeEngine) setHealth(h peer.Health) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.health != h {
		e.health, e.since = h, time.Now()
	}
}

func (e *fakeEngine) Name() string { return "app" }
func (e *fakeEngine) Host() string { return "127.0.0.1:3838" }

func (e *fakeEngine) HostHeader() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.inner
}

func (e *fakeEngine) MaxSessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.max
}

func (e *fakeEngine) set(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
}

func (e *fakeEngine) Health() (peer.Health, time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.health, e.since
}

func (e *fakeEngine) Dial(ctx context.Context) (net.Conn, error) {
	e.mu.Lock()
	e.dials++
	e.mu.Unlock()
	c, err := e.host.DialContext(ctx, "tcp", e.Host())
	if upstream.Refused(err) {
		e.setHealth(peer.Dead)
	}
	return c, err
}

// seen is what the engine says of a request.
type seen struct {
	Engine string
	Hits   int // of this session here
	Path   string
	Host   string
	Header http.Header
	Body   string
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	id := r.Header.Get(fieldSession)
	e.hits[id]++
	e.total++
	n, handle := e.hits[id], e.handle
	e.last = r
	e.mu.Unlock()
	if handle != nil {
		handle(w, r)
		return
	}
	b, _ := io.ReadAll(r.Body)
	_ = json.NewEncoder(w).Encode(seen{e.name, n, r.RequestURI, r.Host, r.Header, string(b)})
}

func (e *fakeEngine) on(h http.HandlerFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.handle = h
}

func (e *fakeEngine) requests() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.total
}
