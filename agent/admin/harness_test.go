package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
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

// The test cluster: n1 leads, n2 follows, n3 is an edge.
const (
	n1 = peer.ID("aaaaaaaaaaaaaaab")
	n2 = peer.ID("aaaaaaaaaaaaaaac")
	n3 = peer.ID("aaaaaaaaaaaaaaad")
)

// epoch is the clock that the tests start with.
func epoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// truth is a real FSM with a stamped clock, shared by the backends of a test as if
// it were replicated.
type truth struct {
	mu      sync.Mutex
	fsm     *fsm.FSM
	now     time.Time
	leader  peer.ID
	quorum  bool
	applied int // commands
}

func newTruth() *truth {
	return &truth{fsm: fsm.New(fsm.Options{}), now: epoch(), leader: n1, quorum: true}
}

func (tr *truth) Now() time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.now
}

func (tr *truth) setLeader(id peer.ID) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.leader = id
}

func (tr *truth) setQuorum(q bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.quorum = q
}

func (tr *truth) advance(d time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.now = tr.now.Add(d)
}

func (tr *truth) apply(p fsm.Proposal) (fsm.Result, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if p.ID == (fsm.CommandID{}) {
		rand.Read(p.ID[:])
	}
	cmd, err := fsm.Encode(p.Command)
	if err != nil {
		return fsm.Result{}, err
	}
	b, err := fsm.EncodeEntry(fsm.Entry{Now: fsm.StampOf(tr.now), Items: []fsm.Item{{ID: p.ID, Known: p.Known, Actor: p.Actor, Command: cmd}}})
	if err != nil {
		return fsm.Result{}, err
	}
	out, err := tr.fsm.Apply(b)
	if err != nil {
		return fsm.Result{}, err
	}
	tr.applied++
	return out[0], nil
}

// must applies a command as the leader itself.
func (tr *truth) must(t testing.TB, c fsm.Command) fsm.Result {
	t.Helper()
	r, err := tr.apply(fsm.Proposal{Actor: fsm.Actor{Kind: fsm.ActorNode, ID: string(n1)}, Known: tr.fsm.View().Revision(), Command: c})
	if err == nil {
		err = r.Err()
	}
	if err != nil {
		t.Fatalf("apply %T: %v", c, err)
	}
	return r
}

func testNode(id peer.ID, name string, class peer.Class) fsm.Node {
	hash := sha256.Sum256([]byte(id))
	return fsm.Node{
		ID: id, Name: name, Class: class, Weight: 100, FeatureLevel: 1, Addr: name + ":14747", Door: name + ":8080",
		KeyHash: hash[:], Engines: []string{"builtin"}, Version: "1.0.0",
	}
}

// tokens are API tokens of the test cluster.
type tokens struct{ viewer, operator, admin, expired, revoked, unknown string }

// seed makes the cluster, its tokens, a task, and a run of it.
func (tr *truth) seed(t testing.TB) tokens {
	t.Helper()
	draw := func() (identity.APIToken, []byte) {
		tok, err := identity.NewAPIToken(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		h := tok.Hash()
		return tok, h[:]
	}
	admin, hash := draw()
	join, err := identity.NewJoinToken(rand.Reader, sha256.Sum256([]byte("ca")))
	if err != nil {
		t.Fatal(err)
	}
	joinHash := join.Hash()
	tr.must(t, &fsm.InitCluster{
		UUID: "7e8d4b9c-5a53-4b1f-9a55-1f2b6a0f3c11", Name: "test", Root: []byte("ca"), Node: testNode(n1, "alpha", peer.ClassServer),
		Token:     fsm.Token{ID: admin.ID(), Name: "first", Hash: hash, Role: fsm.RoleAdmin},
		JoinToken: fsm.JoinToken{ID: join.ID(), Hash: joinHash[:], Uses: 5, Expires: fsm.StampOf(tr.now.Add(time.Hour))},
	})
	tr.must(t, &fsm.AdmitNode{TokenID: join.ID(), Node: testNode(n2, "beta", peer.ClassServer)})
	tr.must(t, &fsm.AdmitNode{TokenID: join.ID(), Node: testNode(n3, "gamma", peer.ClassEdge)})
	make := func(name string, role fsm.Role, expires fsm.Stamp) (string, string) {
		tok, hash := draw()
		tr.must(t, &fsm.CreateToken{ID: tok.ID(), Name: name, Hash: hash, Role: role, Expires: expires})
		return tok.ID(), tok.Reveal()
	}
	out := tokens{admin: admin.Reveal()}
	_, out.viewer = make("viewer", fsm.RoleViewer, 0)
	_, out.operator = make("operator", fsm.RoleOperator, 0)
	_, out.expired = make("expired", fsm.RoleAdmin, fsm.StampOf(tr.now.Add(time.Second)))
	id, revoked := make("revoked", fsm.RoleAdmin, 0)
	tr.must(t, &fsm.RevokeToken{ID: id})
	out.revoked = revoked
	unknown, _ := draw()
	out.unknown = unknown.Reveal()
	tr.must(t, &fsm.PutTask{Task: fsm.Task{Name: "sales", Document: "sales", Every: time.Hour, Attempts: 3, Timeout: time.Hour, CatchUp: time.Hour}})
	tr.now = tr.now.Add(time.Minute)
	return out
}

// backend is one node's Backend over the truth.
type backend struct {
	*truth
	self    peer.ID
	forward *Forwarder // what a follower applies and reads through

	mu       sync.Mutex
	sessions []Session
	contact  time.Duration
	stood    []uint64
	moved    []peer.ID
	removed  []bool // force
	forgot   []peer.ID
	readWait bool // reads hang until their context ends
	onApply  func(fsm.Proposal) error
	joinErr  *identity.JoinError
}

func (b *backend) View() fsm.View { return b.fsm.View() }
func (b *backend) Self() peer.ID  { return b.self }

func (b *backend) state() (leader peer.ID, quorum bool) {
	b.truth.mu.Lock()
	defer b.truth.mu.Unlock()
	return b.leader, b.quorum
}

func (b *backend) Read(ctx context.Context) (fsm.View, error) {
	leader, quorum := b.state()
	switch {
	case b.readWait:
		<-ctx.Done()
		return fsm.View{}, ctx.Err()
	case !quorum:
		return fsm.View{}, &consensus.QuorumError{Reachable: 1, Voters: 3}
	case leader == b.self:
		return b.View(), nil
	}
	rev, err := b.forward.ReadIndex(ctx, leader)
	if err == nil && b.View().Revision() < rev {
		err = errors.New("the revision went back")
	}
	return b.View(), err
}

func (b *backend) ReadHere(context.Context) (fsm.View, error) {
	leader, quorum := b.state()
	if leader != b.self {
		return fsm.View{}, consensus.ErrNotLeader
	}
	if !quorum {
		return fsm.View{}, consensus.ErrNoQuorum
	}
	return b.View(), nil
}

func (b *backend) Apply(ctx context.Context, p fsm.Proposal) (fsm.Result, error) {
	leader, quorum := b.state()
	if !quorum {
		return fsm.Result{}, &consensus.QuorumError{Reachable: 1, Voters: 3}
	}
	if leader != b.self {
		if p.ID == (fsm.CommandID{}) {
			rand.Read(p.ID[:])
		}
		r, err := b.forward.Apply(ctx, leader, p)
		if err == nil {
			err = r.Err()
		}
		return r, err
	}
	r, err := b.Propose(ctx, p)
	if err == nil {
		err = r.Err()
	}
	return r, err
}

func (b *backend) Propose(_ context.Context, p fsm.Proposal) (fsm.Result, error) {
	if leader, _ := b.state(); leader != b.self {
		return fsm.Result{}, &consensus.NotSentError{Err: consensus.ErrNotLeader}
	}
	if b.onApply != nil {
		if err := b.onApply(p); err != nil {
			return fsm.Result{}, err
		}
	}
	return b.apply(p)
}

func (b *backend) Raft() RaftStatus {
	leader, quorum := b.state()
	s := RaftStatus{State: "follower", Leader: leader, Term: 3, LastIndex: 40, CommitIndex: 40, AppliedIndex: 40, Voters: []peer.ID{n1, n2}, Nonvoters: []peer.ID{}, Quorum: quorum}
	if !quorum {
		s.Leader = ""
	}
	b.mu.Lock()
	s.LastContact = b.contact
	b.mu.Unlock()
	return s
}

func (b *backend) Peers() []peer.Peer {
	now := b.Now()
	load := peer.Load{Seq: 1, Received: now.Add(-time.Second), CPUPermille: 250, MemFreeBytes: 1 << 30, MemTotalBytes: 4 << 30, Engines: []peer.EngineLoad{
		{Name: "builtin", Health: peer.Healthy, Sessions: 2, InFlight: 1, Permille: -1, Documents: []string{"sales"}},
	}}
	return []peer.Peer{
		{ID: n1, Name: "alpha", Status: peer.StatusAlive, Version: "1.0.0", Load: load, Since: epoch()},
		{ID: n2, Name: "beta", Status: peer.StatusAlive, Version: "1.0.0", Load: load, Since: epoch()},
	}
}

func (b *backend) Local() Local {
	return Local{
		Version: "1.0.0", Started: epoch(), Door: "127.0.0.1:8080", API: "127.0.0.1:14748", Warnings: []string{},
		Engines: []LocalEngine{{Name: "builtin", URL: "http://127.0.0.1:8787", Health: peer.Healthy, Since: epoch(), Sessions: 2, Documents: []string{"sales"}}},
	}
}

func (b *backend) Sessions(LocalFilter) []Session {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.sessions)
}

func (b *backend) CloseSession(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.sessions)
	b.sessions = slices.DeleteFunc(b.sessions, func(s Session) bool { return s.ID == id })
	return len(b.sessions) < n
}

func (b *backend) MoveCentral(ctx context.Context, to peer.ID) error {
	if leader, _ := b.state(); leader != b.self {
		return b.forward.MoveCentral(ctx, leader, to)
	}
	if to == "" {
		to = n2
	}
	if to == n3 {
		return &fsm.Error{Code: fsm.CodeState, Message: "only a voter can take the central role"}
	}
	b.truth.mu.Lock()
	b.leader = to
	b.truth.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.moved = append(b.moved, to)
	return nil
}

func (b *backend) Stand(_ context.Context, _, index uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stood = append(b.stood, index)
	return nil
}

func (b *backend) RemoveNode(ctx context.Context, p fsm.Proposal, force bool) (fsm.Result, error) {
	b.mu.Lock()
	b.removed = append(b.removed, force)
	b.mu.Unlock()
	if id := p.Command.(*fsm.RemoveNode).ID; id == n2 && !force {
		return fsm.Result{}, &fsm.Error{Code: fsm.CodeState, Message: "the voters that remain would be no majority"}
	}
	return b.Apply(ctx, p)
}

func (b *backend) Admit(_ context.Context, r identity.JoinRequest, via peer.ID) (identity.JoinAnswer, *identity.JoinError) {
	if b.joinErr != nil {
		return identity.JoinAnswer{}, b.joinErr
	}
	return identity.JoinAnswer{NodeName: r.Name, ClusterName: string(via)}, nil
}

func (b *backend) Forget(_ context.Context, id peer.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgot = append(b.forgot, id)
	return nil
}

func (b *backend) DialBack(_ context.Context, addr string, nonce []byte) error {
	if string(nonce) != "right" {
		return fmt.Errorf("%s is another machine", addr)
	}
	return nil
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
		})
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
