package consensus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ushercluster/usher/agent/peer"
	"github.com/ushercluster/usher/fsm"
)

func TestElectWriteIsolateHeal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		follower := c.nodes[c.ids[0]]
		if follower == l {
			follower = c.nodes[c.ids[1]]
		}
		if _, err := follower.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal("write through a follower:", err)
		}
		v, err := l.store.Read(t.Context())
		if err != nil || v.Text("session.scope") != "document" {
			t.Fatal("linearizable read at the leader:", err)
		}
		c.net.Isolate(c.hosts[l.id])
		began := time.Now()
		l2 := c.leader(l.id)
		t.Logf("a new leader after %v", time.Since(began))
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("election took %v", took)
		}
		if _, err := l2.store.Apply(t.Context(), set("session.scope", "browser")); err != nil {
			t.Fatal(err)
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); !errors.Is(err, ErrNoQuorum) {
			t.Fatalf("write at the isolated old leader: %v, want no quorum", err)
		}
		if _, err := l.store.Read(t.Context()); !errors.Is(err, ErrNoQuorum) {
			t.Fatalf("read at the isolated old leader: %v, want no quorum", err)
		}
		if got := l.store.View().Text("session.scope"); got != "document" {
			t.Fatalf("stale view shows %q, want what was there", got)
		}
		c.net.HealAll()
		time.Sleep(15 * time.Second)
		v, err = l.store.Read(t.Context())
		if err != nil || v.Text("session.scope") != "browser" {
			t.Fatalf("after healing: %v, scope %q", err, v.Text("session.scope"))
		}
		time.Sleep(time.Second)
		for _, i := range c.ids {
			if h := c.nodes[i].store.View().Hash(); h != v.Hash() {
				t.Fatalf("node %s has state %s, want %s", i, h, v.Hash())
			}
			if err := c.nodes[i].fatal.Load(); err != nil {
				t.Fatal(*err)
			}
		}
	})
}

// TestCacheFollowsWhatDoorsGoBy looks into the file while the node lives: a power cut asks
// nobody to write it once more.
func TestCacheFollowsWhatDoorsGoBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		path := filepath.Join(c.nodes[l.id].dir, "state.cache")
		apply := func(p fsm.Proposal) uint64 {
			r, err := l.store.Apply(t.Context(), p)
			if err != nil || r.Err() != nil {
				t.Fatal(err, r.Err())
			}
			return r.Revision
		}
		cached := func() fsm.View {
			v, _ := CachedView(path, c.log(l.id))
			return v
		}
		for _, scope := range []string{"document", "browser", "document"} {
			apply(set("session.scope", scope))
			time.Sleep(cacheSoon + cacheFirst)
			if got := cached().Text("session.scope"); got != scope {
				t.Fatalf("scope %q a second after it became %q", got, scope)
			}
		}
		rev := apply(fsm.Proposal{Command: &fsm.PutTask{Task: fsm.Task{Name: "nightly", Document: "sales", Every: time.Hour, Attempts: 1, Timeout: time.Minute, CatchUp: time.Minute}}})
		time.Sleep(cacheInterval / 2)
		if got := cached().Revision(); got >= rev {
			t.Errorf("revision %d is cached already: a task can wait", got)
		}
		time.Sleep(cacheInterval)
		if got := cached().Revision(); got < rev {
			t.Errorf("revision %d is cached, want %d", got, rev)
		}
	})
}

func TestCacheServesBeforeThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second) // the cache is written at most every ten seconds
		c.stopAll()
		c.start(c.ids[2])
		v := c.nodes[c.ids[2]].store.View()
		if !v.Cached() || v.Text("session.scope") != "document" {
			t.Fatalf("cached %v, scope %q: want the cached state before there is a leader", v.Cached(), v.Text("session.scope"))
		}
		newer := v.Newer()
		c.start(c.ids[0])
		c.leader("")
		if _, err := c.nodes[c.ids[2]].store.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-newer:
		default:
			t.Fatal("the cached view was never said to be outdated")
		}
		if c.nodes[c.ids[2]].store.View().Cached() {
			t.Fatal("the cache hides the live state")
		}
	})
}

func TestLeadIsAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		ctx, cancel := context.WithCancel(t.Context())
		type span struct{ from, to time.Time }
		spans := make(chan span, 16)
		done := make(chan struct{})
		for _, i := range c.ids {
			go func() {
				defer func() { done <- struct{}{} }()
				_ = c.nodes[i].store.Lead(ctx, func(ctx context.Context, term uint64) error {
					s := span{from: time.Now()}
					<-ctx.Done()
					s.to = time.Now()
					spans <- s
					return nil
				})
			}()
		}
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		c.leader(l.id)
		select {
		case <-spans:
		case <-time.After(5 * time.Second):
			t.Fatal("the old leader's work was not cancelled")
		}
		c.net.HealAll()
		cancel()
		for range c.ids {
			<-done
		}
	})
}

func TestPlannedMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		to := c.nodes[c.ids[1]]
		if to == l {
			to = c.nodes[c.ids[2]]
		}
		time.Sleep(time.Second)
		began := time.Now()
		if err := l.store.Handover(t.Context(), to.id); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(""); got != to {
			t.Fatalf("%s leads, want %s", got.id, to.id)
		}
		if took := time.Since(began); took > 500*time.Millisecond {
			t.Fatalf("the move took %v", took)
		}
		if _, err := l.store.Apply(t.Context(), set("session.scope", "document")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTimeoutNowFromTheNetworkIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		var other peer.ID
		for _, i := range c.ids {
			if i != l.id {
				other = i
			}
		}
		time.Sleep(time.Second)
		term := l.store.Status().Term
		var resp raft.TimeoutNowResponse
		header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(l.id), Addr: []byte(l.id)}
		err := l.store.trans.TimeoutNow(raft.ServerID(other), raft.ServerAddress(other), &raft.TimeoutNowRequest{RPCHeader: header}, &resp)
		if err == nil {
			t.Fatal("a TimeoutNow from the network was accepted")
		}
		time.Sleep(2 * time.Second)
		if now := l.store.Status(); now.Term != term || !now.IsLeader {
			t.Fatalf("the term moved from %d to %d", term, now.Term)
		}
	})
}

func TestRepeatFindsTheFirstResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		p := set("session.scope", "document")
		p.ID = fsm.CommandID{9}
		first, err := l.store.Apply(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range c.ids {
			again, err := c.nodes[i].store.Apply(t.Context(), p)
			if err != nil || !again.Repeated || again.Revision != first.Revision {
				t.Fatalf("repeat at %s: %+v, %v", i, again, err)
			}
		}
	})
}

// TestReadNeedsAMajority reads at a leader at the very moment in which it is cut
// off and does not know it yet.
func TestReadNeedsAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if !l.store.Status().IsLeader {
			t.Fatal("it knows already")
		}
		if _, err := l.store.ReadHere(ctx); err == nil {
			t.Fatal("a read was confirmed by nobody")
		}
		c.net.HealAll()
		c.leader("")
	})
}

// TestWriteNeedsAMajority writes at a leader at the very moment in which it is cut off and
// does not know it yet.
func TestWriteNeedsAMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		time.Sleep(time.Second)
		c.net.Isolate(c.hosts[l.id])
		if !l.store.Status().IsLeader {
			t.Fatal("it knows already")
		}
		if r, err := l.store.Propose(t.Context(), put("row")); err == nil {
			t.Errorf("a write was acknowledged by nobody: %+v", r)
		}
		if l.store.Status().IsLeader {
			t.Error("the write was refused before the leader was deposed: this test sees nothing")
		}
		c.net.HealAll()
		c.agree()
	})
}

// TestHeartbeatsGoThroughTheMainLoop keeps raft#695 closed: no handler may take
// heartbeats beside Raft's main loop.
func TestHeartbeatsGoThroughTheMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		for _, i := range c.ids {
			f := reflect.ValueOf(c.nodes[i].store.trans.NetworkTransport).Elem().FieldByName("heartbeatFn")
			if !f.IsValid() {
				t.Fatal("raft's transport has no field heartbeatFn any more: find another way to see this")
			}
			if !f.IsNil() {
				t.Fatal("a heartbeat handler is set")
			}
		}
	})
}

// TestRestartFromSnapshot starts from a snapshot that holds everything.
func TestRestartFromSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		l := c.leader("")
		for _, v := range []string{"document", "browser", "document"} {
			if _, err := l.store.Apply(t.Context(), set("session.scope", v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.store.Snapshot(); err != nil {
			t.Fatal(err)
		}
		want := l.store.View()
		c.stop(l.id)
		if err := os.Remove(filepath.Join(c.nodes[l.id].dir, "state.cache")); err != nil {
			t.Fatal(err)
		}
		c.start(l.id)
		v := c.nodes[l.id].store.View()
		if v.Cached() || v.Hash() != want.Hash() {
			t.Fatalf("restored revision %d, want %d with the same hash", v.Revision(), want.Revision())
		}
		c.leader("")
	})
}

// TestAPeerThatIsAwayIsNoError cuts two nodes off from each other for long. Nobody has
// to act for that, and few lines tell it.
func TestAPeerThatIsAwayIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTrio(t)
		defer c.stopAll()
		lines := &locked{}
		c.lines = lines
		for _, i := range c.ids {
			c.stop(i)
		}
		for _, i := range c.ids {
			c.start(i)
		}
		l := c.leader("")
		c.net.Isolate(c.hosts[l.id])
		time.Sleep(2 * time.Minute)
		c.net.HealAll()
		c.leader("")
		c.stopAll()
		text := lines.String()
		if n := strings.Count(text, `"level":"error"`); n > 0 {
			t.Errorf("%d lines are errors:\n%s", n, text[strings.Index(text, `{"level":"error"`):])
		}
		if n := strings.Count(text, `"level":"warn"`); n > 60 || !strings.Contains(text, `"repeated":`) {
			t.Errorf("%d warnings in two minutes", n)
		}
	})
}
