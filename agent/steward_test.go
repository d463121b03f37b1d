package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/ushercluster/usher/agent/consensus"
	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
	"github.com/ushercluster/usher/transport/memnet"
)

// voters are stores on a memory network, in fake time. The first has made the cluster, and
// leads; all are in its node table.
type voters struct {
	net    *memnet.Net
	hosts  map[peer.ID]*memnet.Host
	stores []*consensus.Store
}

func voterID(i int) peer.ID { return peer.ID(fmt.Sprintf("aaaaaaaaaaaaaaa%c", 'b'+i)) }

func voterRow(i int) fsm.Node {
	return fsm.Node{ID: voterID(i), Name: fmt.Sprintf("n%d", i), Class: peer.ClassServer, Weight: 100, FeatureLevel: 1, KeyHash: []byte(voterID(i))}
}

func newVoters(t *testing.T, n int) *voters {
	t.Helper()
	v := &voters{net: memnet.New(), hosts: map[peer.ID]*memnet.Host{}}
	for i := range n {
		v.hosts[voterID(i)] = v.net.Host(fmt.Sprintf("n%d", i), fmt.Sprintf("10.0.0.%d", i+1))
	}
	for i := range n {
		v.open(t, i)
	}
	for first := v.stores[0]; !first.Status().IsLeader; {
		time.Sleep(10 * time.Millisecond)
	}
	for i := 1; i < n; i++ {
		row := &fsm.AdmitNode{TokenID: "jjjj", Node: voterRow(i)}
		if _, err := v.stores[0].Apply(t.Context(), fsm.Proposal{Command: row}); err != nil {
			t.Fatal(err)
		}
		if err := v.stores[0].AddVoter(t.Context(), voterID(i)); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func (v *voters) open(t *testing.T, i int) {
	t.Helper()
	host := v.hosts[voterID(i)]
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	stores, err := consensus.OpenStores(filepath.Join(t.TempDir(), "raft"), zerolog.Nop())
	must(err)
	if i == 0 {
		f := fsm.New(fsm.Options{})
		first, err := fsm.Encode(&fsm.InitCluster{UUID: "u", Name: "c", Node: voterRow(0), JoinToken: fsm.JoinToken{ID: "jjjj", Uses: 9}, Token: fsm.Token{ID: "tttt"}, DataKey: fsm.DataKey{ID: 1}})
		must(err)
		entry, err := fsm.EncodeEntry(fsm.Entry{Now: 1, Items: []fsm.Item{{ID: fsm.CommandID{1}, Command: first}}})
		must(err)
		_, err = f.Apply(entry)
		must(err)
		initial, err := f.Snapshot()
		must(err)
		must(stores.Bootstrap(string(voterID(0)), initial))
	}
	ln, err := host.Listen(t.Context(), "tcp", ":14747")
	must(err)
	pulseLn, err := host.Listen(t.Context(), "tcp", ":14746")
	must(err)
	dial := func(port string) func(context.Context, peer.ID) (net.Conn, error) {
		return func(ctx context.Context, to peer.ID) (net.Conn, error) {
			return host.DialContext(ctx, "tcp", v.hosts[to].IP()+port)
		}
	}
	s, err := consensus.Open(consensus.Config{
		Self: voterID(i), Stores: stores, FSM: fsm.New(fsm.Options{}), Listener: ln, Dial: dial(":14747"),
		Pulse: consensus.Pulse{Boot: 1, Listener: pulseLn, Remote: v.remote, Dial: dial(":14746")},
		Fatal: func(err error) { t.Error(err) }, Log: zerolog.Nop(),
	})
	must(err)
	v.stores = append(v.stores, s)
	t.Cleanup(func() {
		ln.Close()
		v.net.Reset(host)
		if err := errors.Join(s.Close(), stores.Close()); err != nil {
			t.Error(err)
		}
	})
}

func (v *voters) remote(c net.Conn) (peer.ID, bool) {
	at, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	for id, h := range v.hosts {
		if h.IP() == at {
			return id, true
		}
	}
	return "", false
}

// TestGossipAloneTakesNoVote has gossip see nobody for minutes, while every voter follows
// its leader. A leader that believed it would go on with a majority of one.
func TestGossipAloneTakesNoVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVoters(t, 3)
		a := &Agent{self: voterID(0), now: time.Now, started: time.Now(), log: zerolog.Nop(), store: v.stores[0]}
		s := &steward{a: a, close: map[peer.ID]time.Time{}, leaving: map[peer.ID]time.Time{}}
		look := func() (changed bool) {
			t.Helper()
			changed, err := s.moveVoters(t.Context(), a.store.View())
			if err != nil {
				t.Fatal(err)
			}
			return changed
		}
		for began := time.Now(); time.Since(began) < 2*voterGrace; time.Sleep(stewardEvery) {
			if look() || len(a.store.Status().Voters) != 3 {
				t.Fatalf("after %v: voters %v", time.Since(began), a.store.Status().Voters)
			}
		}
		if s.gone(t.Context(), voterID(2)) {
			t.Error("a voter that answers counts as gone")
		}
		v.net.Isolate(v.hosts[voterID(2)])
		time.Sleep(10 * time.Second)
		if !s.gone(t.Context(), voterID(2)) {
			t.Error("a voter that neither gossip nor a call has found for long counts as there")
		}
		if look() || len(a.store.Status().Voters) != 3 {
			t.Errorf("one of three is away: voters %v", a.store.Status().Voters)
		}
	})
}
