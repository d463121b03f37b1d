package admin

import (
	"testing"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

// A node that is gone holds nothing, whatever its last report said.
func TestEnginesOfLostNodes(t *testing.T) {
	load := peer.Load{Engines: []peer.EngineLoad{{Name: "r", Health: peer.Healthy, Sessions: 3, InFlight: 1, Permille: -1}}}
	for status, want := range map[peer.Status]Engine{
		peer.StatusAlive:   {Health: peer.Healthy, Sessions: 3, InFlight: 1},
		peer.StatusSuspect: {Health: peer.Healthy, Sessions: 3, InFlight: 1},
		peer.StatusFailed:  {},
		peer.StatusLeft:    {},
	} {
		s := snapshot{peers: map[peer.ID]peer.Peer{n2: {ID: n2, Status: status, Load: load}}, self: n1}
		got := enginesOf(s, &fsm.Node{ID: n2, Name: "beta", Engines: []string{"r"}})
		if len(got) != 1 || got[0].Health != want.Health || got[0].Sessions != want.Sessions || got[0].InFlight != want.InFlight {
			t.Errorf("%s: %+v", status, got)
		}
	}
}
