package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
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
