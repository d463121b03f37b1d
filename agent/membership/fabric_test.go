package membership

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/memberlist"
)

func TestWhereNamesLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.stop()
		nd := c.add()
		nd.start()
		f := nd.m.fabric
		nowhere := net.JoinHostPort(placeholder().String(), "1")
		if err := nd.m.book.admit(someID, 5, "there.example:1"); err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name, node, addr string
			want             where // zero: nothing is sent
			dropped          int   // counted
		}{
			{"known", nodeName(someID, 5), nowhere, where{someID, "there.example:1"}, 0},
			{"a later start than known", nodeName(someID, 6), "10.0.0.7:1", where{someID, "there.example:1"}, 0},
			{"superseded", nodeName(someID, 4), "10.0.0.7:1", where{}, 0},
			{"unknown with an address", nodeName("bbbbbbbbbbbbbbbb", 1), "10.0.0.8:1", where{"bbbbbbbbbbbbbbbb", "10.0.0.8:1"}, 0},
			{"unknown without", nodeName("bbbbbbbbbbbbbbbb", 1), nowhere, where{}, 1},
			{"no node name", "node", "10.0.0.8:1", where{}, 1},
		} {
			clear(f.pool.targets) // their goroutines end with the pool
			before := value(t, f.metrics.dropped.WithLabelValues(droppedAddress))
			if _, err := f.WriteToAddress([]byte("x"), memberlist.Address{Name: tc.node, Addr: tc.addr}); err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			if n := len(f.pool.targets); n > 1 || n == 1 && f.pool.targets[tc.want] == nil || n == 0 && tc.want != (where{}) {
				t.Errorf("%s: sent to %v, want %v", tc.name, f.pool.targets, tc.want)
			}
			if got := value(t, f.metrics.dropped.WithLabelValues(droppedAddress)) - before; got != tc.dropped {
				t.Errorf("%s: %d dropped", tc.name, got)
			}
		}
		if _, err := f.WriteTo(nil, "10.0.0.8:1"); err == nil {
			t.Error("a packet to nobody in particular was taken")
		}
		if _, err := f.DialTimeout("10.0.0.8:1", streamTimeout); err == nil {
			t.Error("a stream to nobody in particular was taken")
		}
		huge := strings.Repeat("x", maxFrame+1)
		clear(f.pool.targets)
		f.WriteToAddress([]byte(huge), memberlist.Address{Name: nodeName(someID, 5), Addr: nowhere})
		if len(f.pool.targets) != 0 {
			t.Error("a packet that no frame holds was queued")
		}
	})
}
