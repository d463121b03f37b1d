package admin

import (
	"context"
	"errors"
	"testing"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/identity"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func TestAuthorise(t *testing.T) {
	tr := newTruth()
	tok := tr.seed(t)
	v := tr.fsm.View()
	admin, _ := checkToken(v, tok.admin, tr.Now())
	operator, _ := checkToken(v, tok.operator, tr.Now())
	set := &fsm.SetSetting{Key: "log.level", Value: "warn"} // needs admin
	run := &fsm.RequestRun{Task: "sales"}                   // needs operator
	report := &fsm.ReportNode{ID: n2}
	server, edge := peerIdentity{n2, peer.ClassServer}, peerIdentity{n3, peer.ClassEdge}
	tokenActor := func(id string, via peer.ID) fsm.Actor { return fsm.Actor{Kind: fsm.ActorToken, ID: id, Via: via} }
	cases := []struct {
		name string
		from peerIdentity
		item applyItem
		cmd  fsm.Command
		want fsm.Actor
		code Code
	}{
		{"admin token", server, applyItem{Token: tok.admin}, set, tokenActor(admin.id, n2), ""},
		{"admin token through an edge", edge, applyItem{Token: tok.admin}, set, tokenActor(admin.id, n3), ""},
		{"operator's command", server, applyItem{Token: tok.operator}, run, tokenActor(operator.id, n2), ""},
		{"operator, admin's command", server, applyItem{Token: tok.operator}, set, fsm.Actor{}, CodeDenied},
		{"viewer", server, applyItem{Token: tok.viewer}, run, fsm.Actor{}, CodeDenied},
		{"unknown token", server, applyItem{Token: tok.unknown}, run, fsm.Actor{}, CodeUnauthenticated},
		{"expired token", server, applyItem{Token: tok.expired}, run, fsm.Actor{}, CodeUnauthenticated},
		{"revoked token", server, applyItem{Token: tok.revoked}, run, fsm.Actor{}, CodeUnauthenticated},
		{"a bad token does not become a vouched caller", server, applyItem{Token: tok.revoked, Kind: actorLocal, Actor: "root"}, run, fsm.Actor{}, CodeUnauthenticated},
		{"the actor beside a token is not believed", server, applyItem{Token: tok.operator, Kind: actorToken, Actor: admin.id}, run, tokenActor(operator.id, n2), ""},
		{"token for an agent's command", server, applyItem{Token: tok.admin}, report, fsm.Actor{}, CodeDenied},
		{"token for a leader's command", server, applyItem{Token: tok.admin}, &fsm.PutDataKey{KeyID: 1}, fsm.Actor{}, CodeDenied},
		{"claimed token without its secret", server, applyItem{Kind: actorToken, Actor: admin.id}, set, fsm.Actor{}, CodeDenied},
		{"local on a server", server, applyItem{Kind: actorLocal, Actor: "root"}, set, fsm.Actor{Kind: fsm.ActorLocal, ID: "root", Via: n2}, ""},
		{"local on an edge", edge, applyItem{Kind: actorLocal, Actor: "root"}, set, fsm.Actor{}, CodeDenied},
		{"local without a name", server, applyItem{Kind: actorLocal}, set, fsm.Actor{}, CodeDenied},
		{"local with a strange name", server, applyItem{Kind: actorLocal, Actor: "root\nnode:x"}, set, fsm.Actor{}, CodeDenied},
		{"local for an agent's command", server, applyItem{Kind: actorLocal, Actor: "root"}, report, fsm.Actor{}, CodeDenied},
		{"local for a leader's command", server, applyItem{Kind: actorLocal, Actor: "root"}, &fsm.RaiseFeatureLevel{To: 2}, fsm.Actor{}, CodeDenied},
		{"node about itself", server, applyItem{Kind: actorNode, Actor: string(n2)}, report, fsm.Actor{Kind: fsm.ActorNode, ID: string(n2), Via: n2}, ""},
		{"edge about itself", edge, applyItem{Kind: actorNode, Actor: string(n3)}, &fsm.ReportNode{ID: n3}, fsm.Actor{Kind: fsm.ActorNode, ID: string(n3), Via: n3}, ""},
		{"node about another", server, applyItem{Kind: actorNode, Actor: string(n2)}, &fsm.ReportNode{ID: n1}, fsm.Actor{}, CodeDenied},
		{"node that calls itself another", server, applyItem{Kind: actorNode, Actor: string(n1)}, &fsm.ReportNode{ID: n1}, fsm.Actor{}, CodeDenied},
		{"node about its own run", server, applyItem{Kind: actorNode}, &fsm.StartOccurrence{Node: n2}, fsm.Actor{Kind: fsm.ActorNode, ID: string(n2), Via: n2}, ""},
		{"node about another's run", server, applyItem{Kind: actorNode}, &fsm.FinishOccurrence{Node: n1}, fsm.Actor{}, CodeDenied},
		{"node for an operator's command", server, applyItem{Kind: actorNode, Actor: string(n2)}, set, fsm.Actor{}, CodeDenied},
		{"node for a leader's command", server, applyItem{Kind: actorNode, Actor: string(n2)}, &fsm.LoseOccurrence{}, fsm.Actor{}, CodeDenied},
		{"nobody", server, applyItem{}, set, fsm.Actor{}, CodeDenied},
		{"an invented kind", server, applyItem{Kind: "root", Actor: "root"}, set, fsm.Actor{}, CodeDenied},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, p := new(Server).authorise(v, tr.Now(), c.from, c.item, c.cmd, new(knownCaller))
			code := Code("")
			if p != nil {
				code = p.Code
			}
			if got != c.want || code != c.code {
				t.Errorf("%+v, %q; want %+v, %q", got, code, c.want, c.code)
			}
		})
	}
}

// TestNoLeadersCommandIsForwarded goes through every kind there is.
func TestNoLeadersCommandIsForwarded(t *testing.T) {
	tr := newTruth()
	tok := tr.seed(t)
	leaders := []fsm.Command{
		&fsm.InitCluster{}, &fsm.AdmitNode{}, &fsm.RaiseFeatureLevel{}, &fsm.PutSecret{}, &fsm.PutDataKey{},
		&fsm.ClaimOccurrence{Node: n2}, &fsm.LoseOccurrence{}, &fsm.SkipOccurrence{},
	}
	for _, cmd := range leaders {
		if fsm.KindOf(cmd).Proposer() != fsm.ByLeader {
			t.Fatalf("%s is not the leader's", fsm.KindOf(cmd))
		}
		for _, it := range []applyItem{{Token: tok.admin}, {Kind: actorLocal, Actor: "root"}, {Kind: actorNode, Actor: string(n2)}} {
			if _, p := new(Server).authorise(tr.fsm.View(), tr.Now(), peerIdentity{n2, peer.ClassServer}, it, cmd, new(knownCaller)); p == nil {
				t.Errorf("%s is accepted from %+v", fsm.KindOf(cmd), it)
			}
		}
	}
}

func TestApplyOverTheWire(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	f := r.node[n2].f
	set := func(ctx context.Context, f *Forwarder, a fsm.Actor) (fsm.Result, error) {
		return f.Apply(ctx, n1, fsm.Proposal{ID: fsm.CommandID{1}, Known: 1, Actor: a, Command: &fsm.SetSetting{Key: "log.level", Value: "warn"}})
	}
	who, _ := checkToken(r.tr.fsm.View(), r.tok.admin, r.tr.Now())
	actor := fsm.Actor{Kind: fsm.ActorToken, ID: who.id, Via: n2}
	if _, err := set(ctx, f, actor); !errors.Is(err, consensus.ErrDenied) {
		t.Errorf("without the token: %v", err)
	}
	_, err := set(WithCredential(ctx, r.tok.revoked), f, actor)
	var p *Problem
	if !errors.Is(err, consensus.ErrDenied) || !errors.As(err, &p) || p.Code != CodeUnauthenticated {
		t.Errorf("with a revoked token: %v", err)
	}
	first, err := set(WithCredential(ctx, r.tok.admin), f, actor)
	if err != nil || first.Code != "" || first.Revision != r.tr.fsm.View().Revision() {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := set(WithCredential(ctx, r.tok.admin), f, actor)
	if err != nil || again.Revision != first.Revision || !again.Repeated {
		t.Errorf("the same command again: %+v, %v", again, err)
	}
	if _, err := set(ctx, r.node[n3].f, fsm.Actor{Kind: fsm.ActorLocal, ID: "root"}); !errors.Is(err, consensus.ErrDenied) {
		t.Errorf("an edge vouches for its socket: %v", err)
	}
	refused, err := f.Apply(WithCredential(ctx, r.tok.admin), n1, fsm.Proposal{ID: fsm.CommandID{2}, Actor: actor, Command: &fsm.RequestRun{Task: "none"}})
	if err != nil || refused.Code != fsm.CodeNotFound || refused.Message == "" || !fsm.IsCode(refused.Err(), fsm.CodeNotFound) {
		t.Errorf("refused by the state: %+v, %v", refused, err)
	}
	var not *consensus.NotSentError
	if _, err := f.Apply(ctx, n3, fsm.Proposal{ID: fsm.CommandID{3}, Actor: actor, Command: &fsm.RequestRun{Task: "sales"}}); !errors.As(err, &not) {
		t.Errorf("sent to a node that does not lead: %v", err)
	}
}

func TestMalformedItems(t *testing.T) {
	r := newRig(t)
	cmd, err := fsm.Encode(&fsm.RequestRun{Task: "sales"})
	if err != nil {
		t.Fatal(err)
	}
	good := fsm.CommandID{1}
	for name, it := range map[string]applyItem{
		"no ID":        {Token: r.tok.admin, Command: cmd},
		"no command":   {ID: good, Token: r.tok.admin},
		"unknown kind": {ID: good, Token: r.tok.admin, Command: []byte{1, 255, 255, 0x90}},
		"cut command":  {ID: good, Token: r.tok.admin, Command: cmd[:4]},
	} {
		var out applyAnswer
		err := r.node[n2].f.ask(context.Background(), n1, "POST", "/v1/internal/apply", &applyRequest{Items: []applyItem{it}}, &out)
		if err != nil || out.Items[0].Problem == nil || out.Items[0].Problem.Code != CodeInvalid {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
	for _, n := range []int{0, fsm.MaxEntryItems + 1} {
		err := r.node[n2].f.ask(context.Background(), n1, "POST", "/v1/internal/apply", &applyRequest{Items: make([]applyItem, n)}, new(applyAnswer))
		var p *Problem
		if !errors.As(err, &p) || p.Status != 400 {
			t.Errorf("%d items: %v", n, err)
		}
	}
}

// TestNewLeaderLooksAgain holds that a leader whose state is behind does not refuse
// a good token for ever: it reads before it says no.
func TestNewLeaderLooksAgain(t *testing.T) {
	r := newRig(t)
	b := &lagging{backend: r.node[n1].b, old: fsm.New(fsm.Options{}).View()}
	r.node[n1].s.cfg.Backend = b
	_, err := r.node[n2].f.Apply(WithCredential(context.Background(), r.tok.admin), n1, fsm.Proposal{
		ID: fsm.CommandID{9}, Actor: fsm.Actor{Kind: fsm.ActorToken, ID: "x"}, Command: &fsm.RequestRun{Task: "sales"},
	})
	if err != nil || b.reads != 1 {
		t.Errorf("%v after %d reads", err, b.reads)
	}
}

// lagging shows an old state until it is read.
type lagging struct {
	*backend
	old   fsm.View
	reads int
}

func (l *lagging) View() fsm.View { return l.old }
func (l *lagging) ReadHere(ctx context.Context) (fsm.View, error) {
	l.reads++
	return l.backend.ReadHere(ctx)
}

func TestOtherInternalCalls(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	f := r.node[n2].f
	a, err := f.Join(ctx, n1, identity.JoinRequest{Name: "delta"})
	if err != nil || a.NodeName != "delta" || a.ClusterName != string(n2) {
		t.Errorf("join: %+v, %v", a, err)
	}
	r.node[n1].b.joinErr = &identity.JoinError{Code: identity.JoinUsedUp, Message: "used up"}
	var refused *identity.JoinError
	if _, err := f.Join(ctx, n1, identity.JoinRequest{}); !errors.As(err, &refused) || refused.Code != identity.JoinUsedUp {
		t.Errorf("join refused: %v", err)
	}
	var not *consensus.NotSentError
	if _, err := f.Join(ctx, n3, identity.JoinRequest{}); err == nil || errors.As(err, &refused) && refused.Code == "" {
		t.Errorf("join at an edge: %v", err)
	}
	if err := f.DialBack(ctx, n1, "192.0.2.1:1", []byte("right")); err != nil {
		t.Error(err)
	}
	if err := f.DialBack(ctx, n1, "192.0.2.1:1", []byte("wrong")); err == nil || errors.As(err, &not) {
		t.Errorf("dial back: %v", err)
	}
	var p *Problem
	if err := f.MoveCentral(WithCredential(ctx, r.tok.viewer), n1, n2); !errors.As(err, &p) || p.Code != CodeDenied {
		t.Errorf("a viewer's move: %v", err)
	}
	if err := f.MoveCentral(WithCredential(ctx, r.tok.operator), n1, n2); err != nil || len(r.node[n1].b.moved) != 1 {
		t.Errorf("an operator's move: %v", err)
	}
	r.tr.must(t, &fsm.RemoveNode{ID: n2})
	if _, err := f.Local(ctx, n1); !errors.As(err, &p) || p.Code != CodeDenied {
		t.Errorf("a removed node: %v", err)
	}
}
