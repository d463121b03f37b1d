package clustertest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ushercluster/usher/agent"
	"github.com/ushercluster/usher/agent/admin"
	"github.com/ushercluster/usher/fsm"
)

// A dead node needs no force while a quorum remains, and is refused when it comes back.
func TestRemoveADeadNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		dead := c.Node(3)
		dead.Crash()
		time.Sleep(10 * time.Second)
		c.WaitCentral()
		if err := c.Node(1).API().RemoveNode(t.Context(), dead.Name, false); err != nil {
			t.Fatal(err)
		}
		c.WaitVoters(2)
		set(t, c.Node(2), "session.scope", "document")
		dead.Start()
		if err := dead.Ended(); !errors.Is(err, agent.ErrRemoved) {
			t.Errorf("the removed node ended with %v", err)
		}
	})
}

// Force removes a living voter although no majority stays alive. It is as the command
// says: nothing can be changed until the other one is back.
func TestForcedRemovalWaitsForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, 3)
		stays, goes, dead := c.Node(1), c.Node(2), c.Node(3)
		dead.Crash()
		time.Sleep(10 * time.Second)
		c.WaitCentral()
		api := stays.API()
		err := api.RemoveNode(t.Context(), goes.Name, false)
		var refused *admin.Problem
		if !errors.As(err, &refused) || refused.Code != admin.Code(fsm.CodeState) {
			t.Fatalf("without force: %v", err)
		}
		if err := api.RemoveNode(t.Context(), goes.Name, true); err != nil {
			t.Fatal(err)
		}
		if err := goes.Ended(); !errors.Is(err, agent.ErrRemoved) {
			t.Errorf("the removed node ended with %v", err)
		}
		c.Eventually(15*time.Second, "loss of the quorum", func() bool { return !stays.Agent.Status().Quorum() })
		dead.Start()
		dead.WaitReady()
		set(t, stays, "session.scope", "document")
		c.WaitVoters(2)
	})
}
