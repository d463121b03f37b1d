package consensus

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// TestVotesOverConnectionsThatAreGone has a follower with a connection to the other one
// that is older than that one's process, as they remain from an election that was lost.
// It is the first to stand when the leader crashes.
func TestVotesOverConnectionsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		c.net.SetDelay(time.Millisecond)
		l := c.leader("")
		time.Sleep(2 * time.Second)
		first, other := c.others(l)[0], c.others(l)[1]
		var resp raft.RequestPreVoteResponse
		if err := first.store.trans.RequestPreVote(raft.ServerID(other.id), raft.ServerAddress(other.id), &raft.RequestPreVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(first.id), Addr: []byte(first.id)}}, &resp); err != nil {
			t.Fatal(err)
		}
		c.crash(other.id)
		c.start(other.id)
		time.Sleep(12 * time.Second)
		w := c.write(8, c.others(l), 5*time.Millisecond)
		time.Sleep(time.Second)
		began := time.Now()
		go c.crash(l.id)
		took := w.next(began.Add(5*time.Millisecond)) + 5*time.Millisecond
		if t.Logf("the next write was acknowledged %v after the kill", took); took > 150*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		time.Sleep(3 * time.Second)
		w.end()
	})
}
