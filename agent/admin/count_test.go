package admin

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent/peer"
)

// A node's sessions are counted by the node itself, whoever is asked, and only if
// that was asked for.
func TestNodeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close()
		ctx := context.Background()
		for _, id := range []string{"a", "b", "c"} { // its load report says two
			r.node[n2].b.sessions = append(r.node[n2].b.sessions, testSession(id, n2))
		}
		for _, asked := range []peer.ID{n1, n2} {
			c := r.client(asked, r.tok.admin)
			if n, err := c.Node(ctx, "beta"); err != nil || n.Count != nil {
				t.Errorf("%s, not asked to count: %+v, %v", asked, n.Count, err)
			}
			for name, opts := range map[string][]Option{"linearizable": {Counted()}, "stale": {Counted(), Stale()}} {
				n, err := c.Node(ctx, "beta", opts...)
				if err != nil || n.Count == nil || n.Count.Sessions != 3 || n.Count.Revision != r.node[n2].b.View().Revision() {
					t.Errorf("%s %s: %+v, %v", asked, name, n.Count, err)
				}
			}
			c.Close()
		}
		r.net.Cut(r.node[n1].host, r.node[n2].host)
		c := r.client(n1, r.tok.admin)
		defer c.Close()
		began := time.Now()
		if n, err := c.Node(ctx, "beta", Counted(), Stale()); err != nil || n.Count != nil {
			t.Errorf("of a node that does not answer: %+v, %v", n.Count, err)
		}
		if took := time.Since(began); took > askTimeout+100*time.Millisecond {
			t.Errorf("took %v", took)
		}
		r.net.HealAll()
	})
}
