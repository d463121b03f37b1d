package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ushercluster/usher/agent/peer"
)

// reply is a raw answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (p reply) problem(t testing.TB) Problem {
	t.Helper()
	var out Problem
	if err := json.Unmarshal(p.body, &out); err != nil {
		t.Fatalf("no problem document: %d %s", p.status, p.body)
	}
	if out.Status != p.status || out.Type != "urn:usher:problem:"+string(out.Code) || out.Title == "" || p.header.Get("Content-Type") != problemType {
		t.Errorf("problem document is inconsistent: %d %v %s", p.status, p.header, p.body)
	}
	return out
}

const originLoopback origin = "loopback" // TCP, in tests

// request is a raw request of a test.
type request struct {
	method, path, token, body string
	header                    map[string]string
	host                      string
}

// do sends a raw request to a node's listener: tcp, unix or peer.
func (r *rig) do(ctx context.Context, id peer.ID, via origin, q request) reply {
	r.t.Helper()
	node := r.node[id].host
	network, addr, from := "tcp", node.IP()+":14748", r.hub
	switch via {
	case originLoopback:
		addr = "127.0.0.1:14748"
	case originSocket:
		network, addr, from = "unix", "/sock", node
	case originPeer:
		addr, from = node.IP()+":14747", r.node[n2].host
		if q.host == "edge" {
			from, q.host = r.node[n3].host, ""
		} else if q.host == "stranger" {
			from, q.host = r.hub, ""
		}
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return from.DialContext(ctx, network, addr)
	}}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, q.method, "http://"+node.IP()+q.path, strings.NewReader(q.body))
	if err != nil {
		r.t.Fatal(err)
	}
	if q.host != "" {
		req.Host = q.host
	}
	if q.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil && ctx.Err() == nil {
		r.t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return reply{resp.StatusCode, resp.Header, bytes.TrimSpace(b)}
}

// loopback sends a raw request from the node itself.
func (r *rig) loopback(id peer.ID, q request) reply {
	r.t.Helper()
	hub := r.hub
	defer func() { r.hub = hub }()
	r.hub = r.node[id].host
	q.host = "127.0.0.1"
	return r.do(context.Background(), id, originLoopback, q)
}

// admin sends a raw request as an administrator to n1.
func (r *rig) admin(q request) reply {
	r.t.Helper()
	q.token = r.tok.admin
	return r.do(context.Background(), n1, originTCP, q)
}

func testSession(id string, node peer.ID, docs ...string) Session {
	return Session{ID: id, Engine: peer.MakeEngineID(node, "builtin"), Client: "192.0.2.7", Documents: docs, Created: epoch(), LastSeen: epoch()}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// requests counts what a node has answered on a route.
func (r *rig) requests(id peer.ID, route string) float64 {
	r.t.Helper()
	families, err := r.registry[id].Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	total := 0.0
	for _, f := range families {
		if f.GetName() != "usher_admin_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "route" && l.GetValue() == route {
					total += m.GetCounter().GetValue()
				}
			}
		}
	}
	return total
}
