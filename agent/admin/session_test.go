package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

func TestSessionsOfAllNodes(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	var want []string
	for i := range 23 {
		node := []peer.ID{n1, n2}[i%2]
		id := fmt.Sprintf("s%02d", i*7%23)
		r.node[node].b.sessions = append(r.node[node].b.sessions, testSession(id, node, fmt.Sprintf("doc%d", i%3)))
		want = append(want, id)
	}
	slices.Sort(want)
	for _, limit := range []int{1, 5, 23, 100} {
		for _, via := range []peer.ID{n1, n2} {
			var got []string
			cursor := ""
			for {
				page, err := r.client(via, r.tok.viewer).Sessions(ctx, SessionFilter{}, Page(limit, cursor))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range page.Items {
					got = append(got, s.ID)
					if s.Node.ID != s.Engine.Node() || s.Node.Name == "" {
						t.Errorf("session %s: engine %s on node %+v", s.ID, s.Engine, s.Node)
					}
				}
				if cursor = page.Next; cursor == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("pages of %d through %s: %v", limit, via, got)
			}
		}
	}
	c := r.client(n1, r.tok.operator)
	for _, k := range []struct {
		f    SessionFilter
		want int
	}{
		{SessionFilter{Node: "beta"}, 11}, {SessionFilter{Node: string(n1)}, 12}, {SessionFilter{Engine: "builtin"}, 23}, {SessionFilter{Engine: "other"}, 0},
		{SessionFilter{Engine: string(n2) + "/builtin"}, 11}, {SessionFilter{Document: "doc1"}, 8}, {SessionFilter{Node: "beta", Document: "doc1"}, 4},
	} {
		got, err := c.Sessions(ctx, k.f)
		if err != nil || len(got.Items) != k.want {
			t.Errorf("%+v: %d sessions, want %d, %v", k.f, len(got.Items), k.want, err)
		}
	}
	doc, err := c.Document(ctx, "doc1")
	if err != nil || len(doc.Sessions) != 8 {
		t.Errorf("document: %d sessions, %v", len(doc.Sessions), err)
	}
	far := r.node[n2].b.sessions[0].ID
	if s, err := c.Session(ctx, far); err != nil || s.ID != far || s.Node.ID != n2 {
		t.Errorf("session of another node: %+v, %v", s, err)
	}
	if err := c.CloseSession(ctx, far); err != nil || len(r.node[n2].b.sessions) != 10 {
		t.Errorf("close on another node: %d are left, %v", len(r.node[n2].b.sessions), err)
	}
	var p *Problem
	if err := c.CloseSession(ctx, far); !errors.As(err, &p) || p.Code != CodeNotFound {
		t.Errorf("close twice: %v", err)
	}
	if _, err := c.Session(ctx, "s0"); !errors.As(err, &p) || p.Code != CodeNotFound {
		t.Errorf("the beginning of an ID: %v", err)
	}
}

func TestSilentNodesAreNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		r.node[n1].b.sessions = []Session{testSession("near", n1)}
		r.node[n2].b.sessions = []Session{testSession("far", n2)}
		r.net.Cut(r.node[n1].host, r.node[n2].host)
		c := r.client(n1, r.tok.operator)
		defer c.Close()
		began := time.Now()
		got, err := c.Sessions(context.Background(), SessionFilter{})
		if err != nil || len(got.Items) != 1 || len(got.Missing) == 0 || got.Missing[0].Name != "beta" {
			t.Errorf("%+v, %v", got, err)
		}
		if took := time.Since(began); took > askTimeout+100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		var p *Problem
		if _, err := c.Session(context.Background(), "far"); !errors.As(err, &p) || p.Code != CodeUnreachable || p.Status != 502 {
			t.Errorf("a session that may be on a silent node: %v", err)
		}
		if err := c.CloseSession(context.Background(), "far"); !errors.As(err, &p) || p.Code != CodeUnreachable {
			t.Errorf("close: %v", err)
		}
		r.net.HealAll()
		c.Close()
	})
}

func TestEngineAsksItsAgent(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	c := r.client(n1, r.tok.viewer)
	e, err := c.Engine(ctx, peer.MakeEngineID(n2, "builtin"))
	if err != nil || e.URL != "http://127.0.0.1:8787" || e.Node.Name != "beta" || e.ReportAge != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	r.node[n2].stop() // its agent is gone: gossip's word has to do
	r.node[n2].served.Wait()
	if e, err = c.Engine(ctx, peer.MakeEngineID(n2, "builtin")); err != nil || e.URL != "" || e.Sessions != 2 || e.ReportAge.D() != time.Second {
		t.Errorf("without its agent: %+v, %v", e, err)
	}
}
