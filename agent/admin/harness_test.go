package admin

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/doctor"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update if it should:\n%s", name, diff)
	}
}

// rigDebug is what an agent would show of itself.
func rigDebug(n *rigNode) Debug {
	return Debug{
		Diagnose: func(context.Context) ([]doctor.Line, error) {
			return []doctor.Line{{Check: "clock", Verdict: doctor.Failed, Seen: "an hour off", Next: "set it"}}, nil
		},
		Reach: func(_ context.Context, id peer.ID) error {
			if id == n2 {
				return errors.New("connection refused")
			}
			return nil
		},
		Config:  func(w io.Writer) error { _, err := io.WriteString(w, "data_dir: /var/lib/usher\n"); return err },
		Machine: func(context.Context) ([]byte, error) { return []byte(`{"os":"linux"}`), nil },
		Logs:    func() ([][]byte, uint64) { return [][]byte{[]byte(`{"message":"hunter2"}`), []byte(`{}`)}, 7 },
		Scrub:   func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("hunter2"), []byte("x")) },
	}
}

// rig is a Server on memory listeners, with everything that it needs.
type rig struct {
	t    testing.TB
	net  *memnet.Net
	hub  *memnet.Host // where callers are
	tr   *truth
	tok  tokens
	node map[peer.ID]*rigNode

	registry map[peer.ID]*prometheus.Registry
}

type rigNode struct {
	host   *memnet.Host
	b      *backend
	s      *Server
	f      *Forwarder
	stop   context.CancelFunc
	served sync.WaitGroup
}

// peerConns names the dialling host of connections between nodes: the host's name
// is the node's ID, so the address says who it is.
func (r *rig) peerOf(c net.Conn) (peer.ID, peer.Class, bool) {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	for id, n := range r.node {
		if n.host.IP() == host {
			class := peer.ClassServer
			if id == n3 {
				class = peer.ClassEdge
			}
			return id, class, true
		}
	}
	return "", "", false
}

// newRig starts the three nodes. change may alter their configurations.
func newRig(t testing.TB, change ...func(peer.ID, *Config)) *rig {
	t.Helper()
	r := &rig{t: t, net: memnet.New(), tr: newTruth(), node: map[peer.ID]*rigNode{}, registry: map[peer.ID]*prometheus.Registry{}}
	r.hub = r.net.Host("hub", "10.0.0.100")
	r.tok = r.tr.seed(t)
	for i, id := range []peer.ID{n1, n2, n3} {
		host := r.net.Host(string(id), fmt.Sprintf("10.0.0.%d", i+1))
		n := &rigNode{host: host, b: &backend{truth: r.tr, self: id}}
		r.node[id] = n
		n.f = NewForwarder(func(ctx context.Context, to peer.ID) (net.Conn, error) {
			return host.DialContext(ctx, "tcp", r.node[to].host.IP()+":14747")
		}, n.b.View)
		n.b.forward = n.f
		r.registry[id] = prometheus.NewRegistry()
		cfg := Config{
			Registerer: r.registry[id],
			Backend:    n.b, Forwarder: n.f, Hosts: []string{host.IP(), "alpha.example"}, Now: r.tr.Now, Log: zerolog.Nop(),
			SocketUser: func(c net.Conn) (string, error) { return "root", nil },
			ValidateTask: func(k fsm.Task) error {
				if k.Cron == "bad" {
					return errors.New("cron \"bad\": 1 field, 5 are needed")
				}
				return nil
			},
			NextDue: func(_ fsm.Task, after time.Time, n int) []time.Time {
				out := []time.Time{}
				for i := range n {
					out = append(out, after.Truncate(time.Hour).Add(time.Duration(i+1)*time.Hour))
				}
				return out
			},
			ValidateSetting: func(key, value string) error {
				if key == "door.document_patterns" && !strings.Contains(value, "{document}") {
					return errors.New("a pattern needs {document}")
				}
				return nil
			},
			Debug:   rigDebug(n),
			Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "usher_up 1\n") }),
		}
		for _, c := range change {
			c(id, &cfg)
		}
		n.s = New(cfg)
	}
	for _, n := range r.node {
		r.start(n)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) start(n *rigNode) {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	serve := func(network, addr string, f func(context.Context, net.Listener) error) {
		ln, err := n.host.Listen(ctx, network, addr)
		if err != nil {
			r.t.Fatal(err)
		}
		n.served.Go(func() {
			if err := f(ctx, ln); err != nil && !errors.Is(err, net.ErrClosed) {
				r.t.Errorf("serve: %v", err)
			}
		})
	}
	serve("tcp", ":14748", n.s.ServeTCP)
	serve("unix", "/sock", n.s.ServeLocal)
	serve("tcp", ":14747", func(ctx context.Context, ln net.Listener) error { return n.s.ServePeers(ctx, ln, r.peerOf) })
}

func (r *rig) close() {
	for _, n := range r.node {
		n.stop()
		n.f.Close()
	}
	for _, n := range r.node {
		n.served.Wait()
	}
}

// client is a Client of a node's TCP listener.
func (r *rig) client(id peer.ID, token string) *Client {
	r.t.Helper()
	c, err := NewClient(ClientConfig{Address: "http://" + r.node[id].host.IP() + ":14748", Token: token, Dial: r.hub.DialContext})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}

func (r *rig) local(id peer.ID) *Client {
	r.t.Helper()
	c, err := NewClient(ClientConfig{Address: "unix:/sock", Dial: r.node[id].host.DialContext})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(c.Close)
	return c
}
