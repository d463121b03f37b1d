package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

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
